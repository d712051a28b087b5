import sys

from confluent_kafka import Producer

brokers, topic, messages = sys.argv[1:]
producer = Producer({"bootstrap.servers": brokers, "linger.ms": 500})


def send(name, key, value):
    producer.produce(topic, value, key=key, on_delivery=lambda err, _: print(name, err or "ok", sep="\t", flush=True))


for line in open(messages):
    key, value = line.rstrip("\n").split("\t")
    send(value[:5], key or None, value)
producer.flush()
send("next", "next", "next.")
producer.flush()
