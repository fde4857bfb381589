/* output.h - what a session is owed: answers, slices of logs, gaps.
 *
 * Nothing here blocks. A socket that is full is waited for through epoll; one that
 * will not take anything any more makes its session deaf.
 */
#pragma once

#include <sys/epoll.h>

#include "broker/session.h"

/* What a session's socket is watched for; EPOLLOUT only while it is full, or every
 * packet that a reader takes would wake the broker. */
#define SESSION_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET)

/* Queue one frame; the second form joins two parts. Without memory, or above its
 * user's quota, the session is closed. */
void output_put(struct session *session, struct text frame);
void output_put2(struct session *session, struct text first, struct text second);

/* There is something to send: put the session in line. */
void output_schedule(struct session *session);

/* Free what is queued. */
void output_drop(struct session *session);

/* The socket will not take anything any more. What it sent is still read: it may
 * have said something before it left. */
void output_deafen(struct session *session);

/* Send one frame as a packet, the answers, or one slice for each cursor that is
 * behind. Return 0, or -EAGAIN when the socket is full or the session deaf. */
int output_send_text(struct session *session, struct text frame);
/* The same with descriptors, which are borrowed. Also returns -ETOOMANYREFS. */
int output_send_passing(struct session *session, struct text frame, const int *fds, size_t n_fds);
int output_flush_answers(struct session *session);
int output_flush_pending(struct session *session);
