import asyncio
import sys

from aiokafka import AIOKafkaProducer

brokers, topic, messages, variant, idempotent = sys.argv[1:]


async def main():
    producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=500, max_batch_size=1_000_000 if variant == "one" else 16384, enable_idempotence=idempotent == "yes")
    await producer.start()

    async def outcome(name, future):
        try:
            await future
            print(name, "ok", sep="\t", flush=True)
        except Exception as e:
            print(name, repr(e), sep="\t", flush=True)

    waiting = []
    for line in open(messages):
        key, value = line.rstrip("\n").split("\t")
        future = await producer.send(topic, value.encode(), key=key.encode() if key else None)
        waiting.append(outcome(value[:5], future))
    await asyncio.gather(*waiting)
    await outcome("next", await producer.send(topic, b"next.", key=b"next"))
    await producer.stop()


asyncio.run(main())
