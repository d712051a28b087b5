import java.nio.file.*;
import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

public class Client {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", args[0], "linger.ms", 500));
        if (args[3].equals("one")) config.put("batch.size", 1_000_000);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (String line : Files.readAllLines(Path.of(args[2]))) {
                String[] message = line.split("\t");
                send(producer, args[1], message[1].substring(0, 5), message[0].isEmpty() ? null : message[0], message[1]);
            }
            producer.flush();
            send(producer, args[1], "next", "next", "next.");
            producer.flush();
        }
    }

    static void send(Producer<String, String> producer, String topic, String name, String key, String value) {
        producer.send(new ProducerRecord<>(topic, key, value), (metadata, e) -> System.out.println(name + "\t" + (e == null ? "ok" : e)));
    }
}
