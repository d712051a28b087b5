"""What the findings do with a plain client, confluent-kafka (librdkafka).

create BROKERS TOPIC PARTITIONS KEY=VALUE...   configs of the topic
delete BROKERS TOPIC
config BROKERS TOPIC NAME                      prints what is reported
alter BROKERS TOPIC KEY=VALUE                  sets a config
count BROKERS TOPIC                            prints how many records there are
produce BROKERS TOPIC CODEC PARTITION=VALUE... all in one request; prints each outcome. The
                                               value is a text, zeros:N, or nokey
"""
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

do, brokers, topic, *rest = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": brokers})


def settled(futures):
    for future in futures.values():
        future.result(60)


if do == "create":
    configs = dict(c.split("=", 1) for c in rest[1:])
    settled(admin.create_topics([NewTopic(topic, int(rest[0]), 1, config=configs)]))
    time.sleep(1)
elif do == "delete":
    settled(admin.delete_topics([topic]))
    time.sleep(1)
elif do == "config":
    for future in admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values():
        print(future.result(60)[rest[0]].value)
elif do == "alter":
    key, value = rest[0].split("=", 1)
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    settled(admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])]))
    time.sleep(1)
elif do == "count":
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "count"})
    first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), 30)
    print(end - first)
    consumer.close()
elif do == "produce":
    producer = Producer({
        "bootstrap.servers": brokers, "compression.type": rest[0], "linger.ms": 500, "message.max.bytes": 2_000_000,
        "delivery.timeout.ms": 60_000, "log_level": 0,
    })
    said = {}
    for i, message in enumerate(rest[1:]):
        partition, value = message.split("=", 1)
        if value.startswith("zeros:"):
            value = bytes(int(value[6:]))

        def note(err, _, i=i):
            said[i] = err.name() if err else "ok"

        producer.produce(topic, value, key=None if value == "nokey" else b"k", partition=int(partition), on_delivery=note)
    producer.flush(90)
    print(*[said.get(i, "no answer") for i in range(len(rest) - 1)])
