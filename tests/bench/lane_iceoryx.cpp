/* lane_iceoryx.cpp - iceoryx, whose RouDi must be running. The payload is copied into the
 * chunk that is published and out of it again, into memory of the reader's own; nothing is
 * dropped: a queue of 256, and the publisher waits for the reader.
 */
#include "tests/bench/lane.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>
#include <vector>

#include "iceoryx_posh/popo/untyped_publisher.hpp"
#include "iceoryx_posh/popo/untyped_subscriber.hpp"
#include "iceoryx_posh/popo/wait_set.hpp"
#include "iceoryx_posh/runtime/posh_runtime.hpp"

namespace popo = iox::popo;

static const unsigned queue_len = 256; /* its maximum */
static const useconds_t poll_us = 1000;

static lane_plan plan;
static pid_t parent;

extern const bool lane_is_lossy = false;

struct lane {
	popo::UntypedPublisher *publisher;
	popo::UntypedSubscriber *subscriber;
	popo::WaitSet<> *wait_set;
	std::vector<char> body;
};

[[noreturn]] static void fail(const char *what)
{
	fprintf(stderr, "bench: iceoryx: %s\n", what);
	exit(1);
}

static iox::capro::ServiceDescription service(int lane)
{
	std::string name = std::to_string(parent) + "." + std::to_string(lane);

	return { "chat", "bench", iox::capro::IdString_t(iox::cxx::TruncateToCapacity, name) };
}

static popo::UntypedPublisher *new_publisher(int lane)
{
	popo::PublisherOptions options;

	options.subscriberTooSlowPolicy = popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
	return new popo::UntypedPublisher(service(lane), options);
}

static popo::UntypedSubscriber *new_subscriber(int lane)
{
	popo::SubscriberOptions options;

	options.queueCapacity = queue_len;
	options.queueFullPolicy = popo::QueueFullPolicy::BLOCK_PRODUCER;
	return new popo::UntypedSubscriber(service(lane), options);
}

void lanes_plan(const lane_plan *given)
{
	plan = *given;
	parent = getpid();
	if (plan.n_readers > 1 || plan.wait == LANE_LOOKS)
		fail("this can not do that");
}

lane *lane_open(int writes, int reads, unsigned number)
{
	std::string name = "chat-bench-" + std::to_string(getpid());
	lane *opened = new lane();

	iox::runtime::PoshRuntime::initRuntime(
		iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name));
	opened->body.resize(plan.len);
	if (writes >= 0)
		opened->publisher = new_publisher(writes);
	if (reads < 0)
		return opened;
	opened->subscriber = new_subscriber(reads);
	if (plan.wait == LANE_SLEEPS) {
		opened->wait_set = new popo::WaitSet<>();
		opened->wait_set->attachState(*opened->subscriber, popo::SubscriberState::HAS_DATA)
			.or_else([](auto &) { fail("wait set"); });
	}
	return opened;
}

void lane_meet(lane *lane)
{
	while (lane->publisher && !lane->publisher->hasSubscribers())
		usleep(poll_us);
	while (lane->subscriber &&
		lane->subscriber->getSubscriptionState() != iox::SubscribeState::SUBSCRIBED)
		usleep(poll_us);
}

void lane_put(lane *lane, const void *body, bool more)
{
	lane->publisher->loan(static_cast<uint32_t>(plan.len))
		.and_then([&](auto &chunk) {
			memcpy(chunk, body, plan.len);
			lane->publisher->publish(chunk);
		})
		.or_else([](auto &) { fail("no chunk"); });
}

const void *lane_get(lane *lane, lane_losses *losses)
{
	bool has_body = false;

	lane->subscriber->take().and_then([&](const void *chunk) {
		memcpy(lane->body.data(), chunk, plan.len);
		lane->subscriber->release(chunk);
		has_body = true;
	});
	if (has_body)
		return lane->body.data();
	if (lane->wait_set)
		lane->wait_set->wait();
	return nullptr;
}
