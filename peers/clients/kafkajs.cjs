const fs = require("fs");
const { Kafka, logLevel } = require("kafkajs");
const [brokers, topic, file] = process.argv.slice(2);

// A call has one outcome for all of its messages.
async function send(producer, messages) {
  let said = "ok";
  try {
    await producer.send({ topic, messages });
  } catch (e) {
    said = `${e.type ?? e.name}: ${e.message}`;
  }
  for (const m of messages) console.log(`${m.value.split(".")[0]}\t${said}`);
}

(async () => {
  const producer = new Kafka({ brokers: [brokers], logLevel: logLevel.ERROR }).producer();
  await producer.connect();
  const lines = fs.readFileSync(file, "utf8").trimEnd().split("\n").map((l) => l.split("\t"));
  await send(producer, lines.map(([key, value]) => ({ key: key || null, value })));
  await send(producer, [{ key: "next", value: "next." }]);
  await producer.disconnect();
})();
