package demo

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	sentOrders = 1000
	sentPoison = 0.05
)

// found is the place where each message was found.
type found struct {
	log  map[int][]string
	dead map[int][]deadLetter
}

// asItShould is the right place for each message.
func asItShould() found {
	f := found{map[int][]string{}, map[int][]deadLetter{}}
	for id := 1; id <= sentOrders; id++ {
		if class := kindOf(id, sentPoison).class(); class != "" {
			f.dead[id] = []deadLetter{{Error: class + ": because", file: fileOf(class)}}
		} else {
			f.log[id] = []string{topicOf(id)}
		}
	}
	return f
}

func (f found) tally(t *testing.T) Tally {
	t.Helper()
	l := newOrders(sentOrders, sentPoison)
	for id, topics := range f.log {
		for _, topic := range topics {
			require.NoError(t, l.deliver(&kgo.Record{Topic: topic, Value: fmt.Appendf(nil, `{"id":%d}`, id)}))
		}
	}
	for id, letters := range f.dead {
		for _, d := range letters {
			d.Message = fmt.Sprintf(`{"id":%d}`, id)
			require.NoError(t, l.deadLetter(d))
		}
	}
	return l.tally(sentPoison)
}

// first returns the first message of the kind.
func first(k kind) int {
	id := 1
	for kindOf(id, sentPoison) != k {
		id++
	}
	return id
}

func TestOrdersBalances(t *testing.T) {
	t.Parallel()
	got := asItShould().tally(t)
	require.NoError(t, got.Err())
	require.Equal(t, sentOrders, got.Delivered+got.Dead[sizeExceeded]+got.Dead[unroutable])
}

func TestOrdersFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	goodID, badID := first(good), first(overTopic)
	letter := deadLetter{Error: "size_exceeded: because", file: tooLargeFile}
	for _, test := range []struct {
		name string
		do   func(found)
		want string
	}{
		{"a good message is lost", func(f found) { delete(f.log, goodID) }, "1 lost"},
		{"a bad message is lost", func(f found) { delete(f.dead, badID) }, "1 lost"},
		{"all are lost", func(f found) { clear(f.log); clear(f.dead) }, "1,000 lost"},
		{"delivered twice", func(f found) { f.log[goodID] = append(f.log[goodID], topicOf(goodID)) }, "1 duplicates"},
		{"dead-lettered twice", func(f found) { f.dead[badID] = append(f.dead[badID], letter) }, "1 duplicates"},
		{"a good message dead-lettered", func(f found) { delete(f.log, goodID); f.dead[goodID] = []deadLetter{letter} }, "1 good messages dead-lettered"},
		{"delivered and dead-lettered", func(f found) { f.dead[goodID] = []deadLetter{letter} }, "1 duplicates, 1 good messages dead-lettered"},
		{"a bad message delivered", func(f found) { delete(f.dead, badID); f.log[badID] = []string{topicOf(badID)} }, "1 poison delivered"},
		{"another topic", func(f found) { f.log[goodID] = []string{topicOf(goodID + 1)} }, "1 in the wrong place"},
		{"another class", func(f found) { f.dead[badID][0].Error = "unroutable: because" }, "1 in the wrong place"},
		{"another file", func(f found) { f.dead[badID][0].file = rejectedFile }, "1 in the wrong place"},
		{"never sent", func(f found) { f.log[sentOrders+1] = []string{topicOf(1)} }, "1 never sent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := asItShould()
			test.do(f)
			require.EqualError(t, f.tally(t).Err(), "the accounts do not balance: "+test.want)
		})
	}
}

func TestOrdersRefusesWhatIsNoOrder(t *testing.T) {
	t.Parallel()
	l := newOrders(1, 0)
	require.Error(t, l.deliver(&kgo.Record{Topic: "t", Value: []byte(`{"id":1`)}))
	require.Error(t, l.deadLetter(deadLetter{Message: "cut sho"}))
}
