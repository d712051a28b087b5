import sys

from kafka import KafkaProducer

brokers, topic, messages, variant = sys.argv[1:]
producer = KafkaProducer(bootstrap_servers=brokers, linger_ms=500, batch_size=1_000_000 if variant == "one" else 16384)


def send(name, key, value):
    try:
        future = producer.send(topic, value.encode(), key=key)
    except Exception as e:
        print(name, repr(e), sep="\t", flush=True)
        return
    future.add_callback(lambda _: print(name, "ok", sep="\t", flush=True))
    future.add_errback(lambda e: print(name, repr(e), sep="\t", flush=True))


for line in open(messages):
    key, value = line.rstrip("\n").split("\t")
    send(value[:5], key.encode() if key else None, value)
producer.flush()
send("next", b"next", "next.")
producer.flush()
producer.close()
