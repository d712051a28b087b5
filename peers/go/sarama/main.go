// The peer sarama.
package main

import (
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/IBM/sarama"
)

func main() {
	brokers, topic, file := os.Args[1], os.Args[2], os.Args[3]
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Return.Successes = true
	config.Producer.Flush.Messages = 100 // all in one request
	config.Producer.Flush.Frequency = 5e8
	if len(os.Args) > 4 && os.Args[4] == "idempotent" {
		config.Producer.Idempotent, config.Producer.RequiredAcks, config.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
	}
	producer, err := sarama.NewAsyncProducer([]string{brokers}, config)
	if err != nil {
		log.Fatal(err)
	}
	lines, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	all := strings.Split(strings.TrimSuffix(string(lines), "\n"), "\n")
	for _, line := range all {
		key, value, _ := strings.Cut(line, "\t")
		m := &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value), Metadata: value[:5]}
		if key != "" {
			m.Key = sarama.StringEncoder(key)
		}
		producer.Input() <- m
	}
	for range all {
		outcome(producer)
	}
	producer.Input() <- &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("next"), Value: sarama.StringEncoder("next."), Metadata: "next"}
	outcome(producer)
	producer.AsyncClose()
}

func outcome(producer sarama.AsyncProducer) {
	select {
	case m := <-producer.Successes():
		fmt.Printf("%s\tok\n", m.Metadata)
	case e := <-producer.Errors():
		fmt.Printf("%s\t%v\n", e.Msg.Metadata, e.Err)
	}
}
