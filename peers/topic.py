"""What peers/run does with the topics.

create BROKERS TOPIC KEY=VALUE
count BROKERS TOPIC OUT ENDED REPORTS   two cells of the table: what is in the topic, what was reported
clean BROKERS TOPIC OUT                 fails unless all messages and the next are there once
write FILE ROW                          replaces the row of the same peer, or adds it
"""
import re
import sys
import time
from collections import Counter

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BAD = "m-050"


def create(brokers, topic, config):
    key, value = config.split("=")
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics([NewTopic(topic, 1, 1, config={key: value})]).values():
        future.result(60)
    time.sleep(1)


def read(brokers, topic):
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "count", "auto.offset.reset": "earliest", "isolation.level": "read_uncommitted"})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), 30)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, at = Counter(), 0
    while at < end:
        message = consumer.poll(30)
        if message is None:
            sys.exit(f"{topic}: nothing after offset {at} of {end}")
        if message.error():
            sys.exit(f"{topic}: {message.error()}")
        at = message.offset() + 1
        name = re.search(rb"(m-\d{3}|next)\.", message.value())
        found[name.group(1).decode() if name else "?"] += 1
    consumer.close()
    return found


def count(brokers, topic, out, ended, reports):
    found, said = read(brokers, topic), {}
    with open(out, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, what = line.strip().partition("\t")
            if re.fullmatch(r"m-\d{3}|next", name):
                said[name] = what
    good = [f"m-{i:03d}" for i in range(100) if f"m-{i:03d}" != BAD]
    once = sum(found[g] == 1 for g in good)
    more = sum(found[g] > 1 for g in good)
    lost = sum(found[g] == 0 for g in good)
    cell = f"{once} / {more} / {lost}"
    if found[BAD]:
        cell += ", and the bad one"
    if more:
        cell += f" (x{max(found[g] for g in good)})"
    words = []
    if reports == "each":
        words.append(str(sum(said.get(g, "ok") != "ok" for g in good)))
        mute = sum(g not in said for g in good)
        if mute:
            words.append(f"{mute} untold")
        silent = sum(found[g] == 0 and said.get(g) == "ok" for g in good)
        if silent:
            words.append(f"{silent} told as written")
    else:
        words.append(reports)
    if not found["next"]:
        words.append("stops")
    if ended == "no":
        words.append("no end")
    print(f" {cell} | {', '.join(words)} |")


def clean(brokers, topic, out, *_):
    found = read(brokers, topic)
    missing = [m for m in [*(f"m-{i:03d}" for i in range(100)), "next"] if found[m] != 1]
    if missing:
        with open(out + ".log", encoding="utf-8", errors="replace") as log:
            sys.exit(f"{topic}: of good messages alone, {missing} are not in the topic once:\n{log.read()[-3000:]}")


def write(path, row):
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")

    def peer(line):  # without its versions
        return re.sub(r"[\d.]+", "", line.split("|")[1]).strip()

    at = [i for i, line in enumerate(lines) if line.startswith("| ") and peer(line) == peer(row)]
    if at:
        lines[at[0]] = row
    else:
        head = next(i for i, line in enumerate(lines) if line.startswith("| --- |"))
        end = next(i for i in range(head, len(lines)) if not lines[i].startswith("|"))
        lines.insert(end, row)
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))


{"create": create, "clean": clean, "count": count, "write": write}[sys.argv[1]](*sys.argv[2:])
