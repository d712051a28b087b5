package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/kafka-guarded/kafka-guarded/config"
)

// GatewayRecipe is the name of config/http_gateway.yaml, which runs until it is
// interrupted.
const GatewayRecipe = "http"

// gatewayTopic is the topic that the gateway's curl writes to.
const gatewayTopic = "orders"

// Gateway starts config/http_gateway.yaml, and prints how to try it. When the context
// ends it prints the records of the topics.
func Gateway(ctx context.Context, o Options) error {
	b, err := newBroker(gatewayTopic)
	if err != nil {
		return err
	}
	defer b.close()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // to find a free port
	if err != nil {
		return fmt.Errorf("looking for a port: %w", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return fmt.Errorf("looking for a port: %w", err)
	}
	r := recipe{config: config.HTTPGateway, env: map[string]string{envBrokers: b.addresses(), "HTTP_ADDRESS": address}, logs: troubles()}
	if o.Verbose {
		r.logs = verbose()
	}
	stream, err := r.build()
	if err != nil {
		return fmt.Errorf("building the gateway: %w", err)
	}
	fmt.Fprintf(o.Out, `Kafka over HTTP, with a broker at %s. Until Ctrl-C, try

  curl -d '[ {"id": 1}, {"id": 2} ]' -H 'Content-Type: application/json' http://%s/topics/%s

or one record that is too large for the topic (max.message.bytes %d) among others:

  (echo one; head -c 150000 /dev/urandom | base64 -w0; echo; echo three) | curl --data-binary @- -H 'Content-Type: application/x-ndjson' http://%[2]s/topics/%[3]s

`, b.addresses(), address, gatewayTopic, topicLimit)
	if _, err := runStream(ctx, stream, newProgress(o.Out, -1, true, b.count)); err != nil && !errors.Is(err, errInterrupted) {
		return fmt.Errorf("running the gateway: %w", err)
	}
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return b.printTopics(reading, o.Out)
}
