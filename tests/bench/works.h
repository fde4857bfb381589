/* works.h - one function for each kind of measurement, with its own arguments. */
#pragma once

void work_flow(int argc, char **argv);
void work_echo(int argc, char **argv);
void work_idle(int argc, char **argv);

/* of lane_main.c */
void work_trip(int argc, char **argv);
void work_calls(int argc, char **argv);
void work_rate(int argc, char **argv);
void work_readers(int argc, char **argv);
