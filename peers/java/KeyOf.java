import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.Transformation;

/** Takes a line KEY TAB VALUE of the file source apart. An empty KEY is none. */
public class KeyOf implements Transformation<SourceRecord> {
    @Override
    public SourceRecord apply(SourceRecord r) {
        String[] line = r.value().toString().split("\t", 2);
        return r.newRecord(r.topic(), 0, null, line[0].isEmpty() ? null : line[0], null, line[1], r.timestamp());
    }

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public void configure(Map<String, ?> configs) {}

    @Override
    public void close() {}
}
