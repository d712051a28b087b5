// Runs Kroxylicious with the config that the first argument names.
import io.kroxylicious.proxy.KafkaProxy
import io.kroxylicious.proxy.config.ConfigParser
import io.kroxylicious.proxy.internal.config.Features

def parser = new ConfigParser()
def config = new File(args[0]).withInputStream { parser.parseConfiguration(it) }
new KafkaProxy(parser, config, Features.defaultFeatures()).startup().block()
