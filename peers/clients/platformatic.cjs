const fs = require("fs");
const { Producer, stringSerializers } = require("@platformatic/kafka");
const [brokers, topic, file] = process.argv.slice(2);

// A call has one outcome for all of its messages.
async function send(producer, messages) {
  let said = "ok";
  try {
    await producer.send({ messages });
  } catch (e) {
    said = `${e.code ?? e.name}: ${e.message}`.replaceAll("\n", " ");
  }
  for (const m of messages) console.log(`${m.value.split(".")[0]}\t${said}`);
}

(async () => {
  const producer = new Producer({ clientId: "peer", bootstrapBrokers: [brokers], serializers: stringSerializers });
  const lines = fs.readFileSync(file, "utf8").trimEnd().split("\n").map((l) => l.split("\t"));
  await send(producer, lines.map(([key, value]) => ({ topic, key: key || undefined, value })));
  await send(producer, [{ topic, key: "next", value: "next." }]);
  await producer.close();
})();
