import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.datagen.source.*;
import org.apache.flink.connector.kafka.sink.*;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.producer.ProducerRecord;

public class Flink {
    public static void main(String[] args) throws Exception {
        List<String> lines = new ArrayList<>(Files.readAllLines(Path.of(args[2])));
        lines.add("next\tnext.");
        var env = StreamExecutionEnvironment.createLocalEnvironment(1);
        env.enableCheckpointing(1000);
        var source = new DataGeneratorSource<>(new Lines(lines), lines.size(), Types.STRING);
        var sink = KafkaSink.<String>builder().setBootstrapServers(args[0]).setProperty("linger.ms", "500");
        if (args[3].equals("one")) sink.setProperty("batch.size", "1000000");
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "lines")
            .sinkTo(sink.setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE).setRecordSerializer(new ToRecord(args[1])).build());
        env.execute();
    }

    record Lines(List<String> lines) implements GeneratorFunction<Long, String> {
        @Override
        public String map(Long i) {
            return lines.get(i.intValue());
        }
    }

    record ToRecord(String topic) implements KafkaRecordSerializationSchema<String> {
        @Override
        public ProducerRecord<byte[], byte[]> serialize(String line, KafkaSinkContext context, Long timestamp) {
            String[] message = line.split("\t");
            return new ProducerRecord<>(topic, message[0].isEmpty() ? null : bytes(message[0]), bytes(message[1]));
        }

        static byte[] bytes(String s) {
            return s.getBytes(StandardCharsets.UTF_8);
        }
    }
}
