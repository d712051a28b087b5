import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import org.apache.camel.ProducerTemplate;
import org.apache.camel.builder.ExchangeBuilder;
import org.apache.camel.component.kafka.KafkaConstants;
import org.apache.camel.impl.DefaultCamelContext;

public class Camel {
    public static void main(String[] args) throws Exception {
        var context = new DefaultCamelContext();
        context.start();
        String to = "kafka:" + args[1] + "?brokers=" + args[0] + "&lingerMs=500" + (args[3].equals("one") ? "&producerBatchSize=1000000" : "");
        var template = context.createProducerTemplate();
        template.setExecutorService(Executors.newFixedThreadPool(100));
        var waiting = new ArrayList<Future<?>>();
        for (String line : Files.readAllLines(Path.of(args[2]))) {
            String[] message = line.split("\t");
            waiting.add(send(context, template, to, message[1].substring(0, 5), message[0].isEmpty() ? null : message[0], message[1]));
        }
        for (var each : waiting) each.get();
        send(context, template, to, "next", "next", "next.").get();
        context.stop();
        System.exit(0);
    }

    static Future<?> send(DefaultCamelContext context, ProducerTemplate template, String to, String name, String key, String value) {
        var exchange = ExchangeBuilder.anExchange(context).withBody(value);
        if (key != null) exchange.withHeader(KafkaConstants.KEY, key);
        return template.asyncSend(to, exchange.build()).thenAccept(done -> System.out.println(name + "\t" + (done.getException() == null ? "ok" : done.getException())));
    }
}
