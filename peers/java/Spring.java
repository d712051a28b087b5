import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.*;

public class Spring {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", args[0], "linger.ms", 500));
        if (args[3].equals("one")) config.put("batch.size", 1_000_000);
        var factory = new DefaultKafkaProducerFactory<>(config, new StringSerializer(), new StringSerializer());
        var template = new KafkaTemplate<>(factory);
        for (String line : Files.readAllLines(Path.of(args[2]))) {
            String[] message = line.split("\t");
            send(template, args[1], message[1].substring(0, 5), message[0].isEmpty() ? null : message[0], message[1]);
        }
        template.flush();
        send(template, args[1], "next", "next", "next.");
        template.flush();
        factory.destroy();
    }

    static void send(KafkaTemplate<String, String> template, String topic, String name, String key, String value) {
        template.send(topic, key, value).whenComplete((result, e) -> System.out.println(name + "\t" + (e == null ? "ok" : e.getCause())));
    }
}
