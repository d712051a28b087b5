package output_test

import (
	"context"
	"fmt"
	"log"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// The plugin in a stream that a program of your own builds.
func Example() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()

	builder := service.NewStreamBuilder()
	err = builder.SetYAML(fmt.Sprintf(`
input:
  generate:
    count: 3
    interval: ""
    mapping: 'root.id = counter()'
output:
  kafka_guarded:
    seed_brokers: [ %q ]
    topic: orders
    max_in_flight: 1
    dead_letter:
      drop: {}
logger:
  level: OFF
`, cluster.ListenAddrs()[0]))
	if err != nil {
		log.Fatal(err)
	}
	stream, err := builder.Build()
	if err != nil {
		log.Fatal(err)
	}
	if err := stream.Run(ctx); err != nil {
		log.Fatal(err)
	}

	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		log.Fatal(err)
	}
	defer consumer.Close()
	for n := 0; n < 3; {
		for _, r := range consumer.PollFetches(ctx).Records() {
			fmt.Println(string(r.Value))
			n++
		}
	}
	// Output:
	// {"id":1}
	// {"id":2}
	// {"id":3}
}
