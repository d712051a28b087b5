package deadletters

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// night is a cluster with letters, whose topics accept them by now.
func night(t *testing.T) *kafkafake.Cluster {
	c := topicWithLetters(t)
	c.Topic("orders", 2)
	c.Topic("customers", 3)
	return c
}

// records returns the records of a topic.
func records(t *testing.T, c *kafkafake.Cluster, topic string) []*kgo.Record {
	t.Helper()
	all, err := c.Read(t.Context(), topic)
	require.NoError(t, err)
	return all
}

// said returns the number in a line of the account.
func (r result) said(t *testing.T, name string) (n int) {
	t.Helper()
	for line := range strings.Lines(r.out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			_, err := fmt.Sscan(strings.ReplaceAll(strings.TrimSpace(rest), ",", ""), &n)
			require.NoError(t, err, line)
			return n
		}
	}
	require.Fail(t, "no line "+name, "%s\n%s\n%v", r.out, r.err, r.failed)
	return 0
}

func requireAccount(t *testing.T, r result, chosen, delivered, again, left int) {
	t.Helper()
	require.Equal(t, [4]int{chosen, delivered, again, left}, [4]int{r.said(t, "chosen"), r.said(t, "delivered"), r.said(t, "failed again"), r.said(t, "left")}, "%s\n%s", r.out, r.err)
	require.Contains(t, r.out, "the account balances")
}

func TestRedriveRestoresWhatWasSent(t *testing.T) {
	t.Parallel()
	c := night(t)
	r := runCommand(t, "redrive", brokers(c), "--class=size_exceeded", "--class=invalid_record", "dead").fine(t)
	requireAccount(t, r, 30, 30, 0, 0)
	require.Contains(t, r.out, "at as many offsets of customers, orders")
	require.NotContains(t, r.err, "WARN", "of a config that is none of the user's")
	orders := records(t, c, "orders")
	require.Len(t, orders, 20)
	for _, got := range orders {
		var i int
		_, err := fmt.Sscanf(string(got.Key), "customer-%d", &i)
		require.NoError(t, err)
		want := tooLarge("orders", i)
		require.Equal(t, want.Value, got.Value)
		require.Equal(t, want.Timestamp.UnixMilli(), got.Timestamp.UnixMilli())
		require.Equal(t, []kgo.RecordHeader{header("trace", fmt.Sprintf("t-%d", i))}, got.Headers)
	}
	customers := records(t, c, "customers")
	require.Len(t, customers, 10)
	for _, got := range customers {
		require.Nil(t, got.Key)
		var id int
		_, err := fmt.Sscanf(string(got.Value), `{"id":%d`, &id)
		require.NoError(t, err)
		require.EqualValues(t, id%3, got.Partition, "the partition that it was for")
	}
}

func TestRedriveSendsNothingTwice(t *testing.T) {
	t.Parallel()
	c := night(t)
	r := runCommand(t, "redrive", brokers(c), "--class=size_exceeded", "--where=this.id < 5", "dead").fine(t)
	requireAccount(t, r, 5, 5, 0, 0)
	// Another filter matches letters that are done, too.
	r = runCommand(t, "redrive", brokers(c), "--class=size_exceeded", "dead").fine(t)
	requireAccount(t, r, 15, 15, 0, 0)
	require.Contains(t, r.out, "besides: 5 letters were dealt with before")
	r = runCommand(t, "redrive", brokers(c), "--class=size_exceeded", "dead").fine(t)
	requireAccount(t, r, 0, 0, 0, 0)
	require.Len(t, records(t, c, "orders"), 20)
	// A letter that comes later is chosen.
	produce(t, c, "dead", tooLarge("orders", 77))
	r = runCommand(t, "redrive", brokers(c), "--class=size_exceeded", "dead").fine(t)
	requireAccount(t, r, 1, 1, 0, 0)
	require.Len(t, records(t, c, "orders"), 21)
}

func TestWhatFailsAgainStaysALetter(t *testing.T) {
	t.Parallel()
	c := night(t)
	c.Set("customers", "cleanup.policy", "compact")
	c.Set("orders", "max.message.bytes", "100")
	for attempt := 1; attempt <= 3; attempt++ {
		r := runCommand(t, "redrive", brokers(c), "--topic=customers", "dead")
		require.Equal(t, exitLeft, r.code)
		requireAccount(t, r, 10, 0, 10, 0)
		require.Contains(t, r.out, "they are letters again, at the end of topic dead")
		require.Contains(t, r.out, "no key, and the topic is compacted")
	}
	r := runCommand(t, "redrive", brokers(c), "--topic=customers", "dead").fine(t)
	requireAccount(t, r, 0, 0, 0, 0)
	require.Contains(t, r.out, "besides: 10 letters were sent 3 times without success")
	dead := records(t, c, "dead")
	require.Len(t, dead, 31+30)
	shown := runCommand(t, "show", brokers(c), "--where=@kafka_guarded_attempts.number().catch(0) == 3", "--limit=1", "dead").fine(t)
	require.Contains(t, shown.out, "sent again 3 times, without success")
	// Once repaired, they are delivered after any number of attempts.
	fix := file(t, "fix.blobl", `meta kafka_guarded_key = this.customer`)
	r = runCommand(t, "redrive", brokers(c), "--topic=customers", "--max-attempts=4", "--mapping", fix, "dead").fine(t)
	requireAccount(t, r, 10, 10, 0, 0)
	for _, got := range records(t, c, "customers") {
		require.Contains(t, string(got.Key), "secret-2")
		require.Contains(t, string(got.Value), `"customer":"secret-2`, "a mapping that sets no root leaves the content")
		require.Empty(t, got.Headers)
	}
}

func TestMappingRepairsAndDrops(t *testing.T) {
	t.Parallel()
	c := night(t)
	fix := file(t, "fix.blobl", `
root = if this.id % 2 == 0 { deleted() } else { { "id": this.id } }
meta kafka_guarded_topic = "customers"`)
	r := runCommand(t, "redrive", brokers(c), "--class=size_exceeded", "--mapping", fix, "dead").fine(t)
	require.Equal(t, 10, r.said(t, "dropped"))
	requireAccount(t, r, 20, 10, 0, 0)
	for _, got := range records(t, c, "customers") {
		require.Regexp(t, `^{"id":\d+}$`, string(got.Value))
	}
	// If the mapping fails for a letter, it stays a letter, and the error is not
	// quoted.
	fails := file(t, "fails.blobl", `root = this.id.uppercase()`)
	r = runCommand(t, "redrive", brokers(c), "--class=invalid_record", "--mapping", fails, "dead")
	requireAccount(t, r, 10, 0, 10, 0)
	require.Contains(t, r.out, "the mapping fails for this letter")
	require.NotContains(t, r.out+r.err, "secret")
}

func TestRedriveOfFiles(t *testing.T) {
	t.Parallel()
	c := night(t)
	c.Set("customers", "cleanup.policy", "compact")
	var lines []string
	for i := range 10 {
		lines = append(lines, packedLine(t, tooLarge("orders", i)), packedLine(t, noKey("customers", i)))
	}
	path := file(t, "letters.jsonl", lines...)
	r := runCommand(t, "redrive", brokers(c), path)
	require.Equal(t, exitLeft, r.code, r.failed)
	requireAccount(t, r, 20, 10, 10, 0)
	require.FileExists(t, path+sidecar)
	require.FileExists(t, path+leftover)
	require.Len(t, records(t, c, "orders"), 10)
	// Letters that failed again are read with the file.
	fix := file(t, "fix.blobl", `meta kafka_guarded_key = "k"`)
	r = runCommand(t, "redrive", brokers(c), "--mapping", fix, path).fine(t)
	requireAccount(t, r, 10, 10, 0, 0)
	require.Len(t, records(t, c, "orders"), 10)
	require.Len(t, records(t, c, "customers"), 10)
	requireAccount(t, runCommand(t, "redrive", brokers(c), path).fine(t), 0, 0, 0, 0)
}

// A file that is emptied or replaced after its letters were sent has letters of its own. They
// must not be taken for those that are done.
func TestAFileThatIsReplacedIsAnError(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("orders", 1)
	var lines []string
	for i := range 6 {
		lines = append(lines, packedLine(t, tooLarge("orders", i)))
	}
	path := file(t, "letters.jsonl", lines[:2]...)
	write := func(lines ...string) {
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
	}
	requireAccount(t, runCommand(t, "redrive", brokers(c), path).fine(t), 2, 2, 0, 0)
	write(lines[:3]...)
	requireAccount(t, runCommand(t, "redrive", brokers(c), path).fine(t), 1, 1, 0, 0)
	write()
	requireAccount(t, runCommand(t, "redrive", brokers(c), path).fine(t), 0, 0, 0, 0)
	write(lines[3:]...)
	for _, args := range [][]string{{"redrive"}, {"redrive", "--dry-run"}} {
		r := runCommand(t, append(args, brokers(c), path)...)
		require.ErrorContains(t, r.failed, path+" has another first letter than when letters of it were sent")
		require.ErrorContains(t, r.failed, "remove the mark to send all letters")
	}
	require.Len(t, records(t, c, "orders"), 3)
	require.NoError(t, os.Remove(path+sidecar))
	requireAccount(t, runCommand(t, "redrive", brokers(c), path).fine(t), 3, 3, 0, 0)
	require.Len(t, records(t, c, "orders"), 6)
}

// Plain lines have no topic: a mapping sets it.
func TestRedriveOfPlainLines(t *testing.T) {
	t.Parallel()
	c := night(t)
	path := file(t, "lines.txt", `{"id":1}`, `{"id":2}`)
	r := runCommand(t, "redrive", brokers(c), path)
	requireAccount(t, r, 2, 0, 2, 0)
	require.Contains(t, r.out, "the letter does not say which topic it was for")
	fix := file(t, "fix.blobl", `meta kafka_guarded_topic = "orders"`)
	requireAccount(t, runCommand(t, "redrive", brokers(c), "--mapping", fix, path).fine(t), 2, 2, 0, 0)
	require.Equal(t, map[string]int{`{"id":1}`: 1, `{"id":2}`: 1}, c.Values("orders"))
}

func TestDryRunWritesNothingAndSaysWhatWouldFail(t *testing.T) {
	t.Parallel()
	c := night(t)
	c.Set("customers", "cleanup.policy", "compact")
	c.Set("orders", "max.message.bytes", "111")
	before := len(records(t, c, "dead"))
	r := runCommand(t, "redrive", "--dry-run", brokers(c), "dead")
	require.Equal(t, exitLeft, r.code)
	require.Contains(t, r.out, "31 letters are chosen")
	require.Regexp(t, `(?m)^10 .* invalid_record +customers .* no key, and the topic is compacted`, r.out)
	require.Regexp(t, `(?m)^\d+ .* size_exceeded +orders .* N bytes exceed the topic's max.message.bytes \(M\)`, r.out)
	require.Regexp(t, `(?m)^1 .* unroutable +- .* does not say which topic`, r.out)
	require.Empty(t, records(t, c, "orders"))
	require.Len(t, records(t, c, "dead"), before)
	// The run ends as the dry run said.
	match := regexp.MustCompile(`(\d+) would fail again`).FindStringSubmatch(r.out)
	require.NotNil(t, match, r.out)
	require.Equal(t, match[1], fmt.Sprint(runCommand(t, "redrive", brokers(c), "dead").said(t, "failed again")))
}

// The record of a redriven letter is the original one, for each kind of letter.
func TestLettersOfEveryKindAreByteEqual(t *testing.T) {
	t.Parallel()
	binary := []byte{0, 0xff, 0xfe, 10, 13, 34}
	var many []kgo.RecordHeader
	for i := range 100 {
		many = append(many, header(fmt.Sprintf("h%03d", i), strings.Repeat("v", i)))
	}
	kinds := map[string]*kgo.Record{
		"binary":       {Key: binary, Value: binary, Headers: []kgo.RecordHeader{{Key: "b", Value: binary}}},
		"100 headers":  {Key: []byte("k"), Value: []byte("v"), Headers: many},
		"no key":       {Value: []byte("v")},
		"empty key":    {Key: []byte{}, Value: []byte("v")},
		"null value":   {Key: []byte("k")},
		"empty value":  {Key: []byte("k"), Value: []byte{}},
		"looks like":   {Key: []byte("${X}"), Value: []byte(`${! meta("x") }`), Headers: []kgo.RecordHeader{header("_under", "x"), header("kafka_key", "y")}},
		"two megabyte": {Key: []byte("k"), Value: bytes.Repeat(binary, 350_000)},
	}
	for name, want := range kinds {
		for _, of := range []string{"topic", "file"} {
			t.Run(name+" of a "+of, func(t *testing.T) {
				t.Parallel()
				c := kafkafake.New(t)
				c.Topic("t", 2, "max.message.bytes=30000000")
				c.Topic("dead", 2, "max.message.bytes=30000000")
				letter := &kgo.Record{Key: want.Key, Value: want.Value, Timestamp: failedAt, Headers: slices.Concat(want.Headers, []kgo.RecordHeader{header(metaClass, "size_exceeded"), header(metaError, "size_exceeded: topic t: x"), header(metaTopic, "t")})}
				if of == "file" { // in a file other metadata may look like headers
					names := []string{}
					for _, h := range want.Headers {
						names = append(names, h.Key)
					}
					list, err := json.Marshal(names)
					require.NoError(t, err)
					letter.Headers = append(letter.Headers, header(metaHeaders, string(list)), header("path", "/data"))
				}
				if want.Key != nil {
					letter.Headers = append(letter.Headers, header(metaKey, string(want.Key)))
				}
				from := "dead"
				if of == "file" {
					l := newLetter(place{}, letter.Headers, letter.Value, failedAt)
					line, err := pack(l.packed(), letter.Value)
					require.NoError(t, err)
					from = file(t, "dead.jsonl", string(line))
				} else {
					produce(t, c, "dead", letter)
				}
				requireAccount(t, runCommand(t, "redrive", brokers(c), from).fine(t), 1, 1, 0, 0)
				got := records(t, c, "t")
				require.Len(t, got, 1)
				require.Equal(t, want.Key, got[0].Key)
				require.True(t, bytes.Equal(want.Value, got[0].Value))
				require.Equal(t, want.Value == nil, got[0].Value == nil)
				require.ElementsMatch(t, want.Headers, got[0].Headers)
				require.Equal(t, failedAt.UnixMilli(), got[0].Timestamp.UnixMilli())
			})
		}
	}
}

// The list of headers is JSON, in which bytes that are no UTF-8 are replaced.
func TestHeaderNamesMayBeBytes(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	c.Topic("dead", 1)
	want := []kgo.RecordHeader{header("b\xff\xfe", "bytes"), header("é", "text")}
	list, err := json.Marshal([]string{want[0].Key, want[1].Key})
	require.NoError(t, err)
	letter := tooLarge("t", 1)
	letter.Headers = append(slices.DeleteFunc(letter.Headers, func(h kgo.RecordHeader) bool { return !own(h.Key) }), header("b\xfe", "no header"), header(metaHeaders, string(list)))
	letter.Headers = append(letter.Headers, want...)
	produce(t, c, "dead", letter)
	requireAccount(t, runCommand(t, "redrive", brokers(c), "dead").fine(t), 1, 1, 0, 0)
	require.ElementsMatch(t, want, records(t, c, "t")[0].Headers)
}

// A killed run leaves a mark, and the next run goes on there. It sends the batch in
// flight again, and counts it.
func TestARunThatIsKilledIsGoneOnWith(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"topic", "file"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("dead", 3)
			c.Topic("orders", 2)
			const n = 3*maxBatch + 100
			var all []*kgo.Record
			var lines []string
			for i := range n {
				all = append(all, tooLarge("orders", i))
				if of == "file" {
					lines = append(lines, packedLine(t, all[i]))
				}
			}
			from := "dead"
			if of == "file" {
				from = file(t, "dead.jsonl", lines...)
			} else {
				produce(t, c, "dead", all...)
			}
			killed := killAfter(t, c, from, 2)
			require.GreaterOrEqual(t, len(records(t, c, "orders")), 2*maxBatch)
			r := runCommand(t, "redrive", brokers(c), from).fine(t)
			log := records(t, c, "orders")
			seen := map[string]int{}
			for _, rec := range log {
				seen[string(rec.Key)]++
			}
			require.Len(t, seen, n, "none is lost")
			twice := len(log) - n
			require.Equal(t, maxBatch, twice, "those of the batch that the killed run was at")
			require.Contains(t, r.out, "with up to 2,000 copies more: a run was killed")
			require.EqualValues(t, maxBatch, killed)
			requireAccount(t, r, n-maxBatch, n-maxBatch, 0, 0)
		})
	}
}

// killAfter runs redrive for so many batches, and then drops what it knows of the last
// one, as a kill would. It returns the mark.
func killAfter(t *testing.T, c *kafkafake.Cluster, from string, batches int) (done int64) {
	t.Helper()
	r := newRedrive(t, c, from)
	ctx, kill := context.WithCancel(t.Context())
	store := r.marks
	r.marks = &dyingMarks{marks: store, saves: batches, kill: kill}
	_ = r.run(ctx)
	m, err := marksOf(r.source, redriveOptions{}).load(t.Context())
	require.NoError(t, err)
	return m.Passes[0].Account.Delivered
}

// newRedrive is a run, with fields of the output to the targets.
func newRedrive(t *testing.T, c *kafkafake.Cluster, from string, fields ...string) *redrive {
	t.Helper()
	s := &session{ctx: t.Context(), out: &bytes.Buffer{}, err: io.Discard, filter: &filter{MaxAttempts: 3}}
	var err error
	s.found, err = where{brokers: c.ListenAddrs(), fields: fields}.find()
	require.NoError(t, err)
	require.NoError(t, s.openAt(lettersAt{arg: from}))
	r := &redrive{
		source: s.opened[0], filter: s.filter, marks: marksOf(s.opened[0], redriveOptions{}), admin: c.Admin,
		writer: &writer{settings: s.found.target, log: s.err}, again: leftoversOf(s.opened[0], s), out: s.out, log: s.err,
	}
	t.Cleanup(func() { r.writer.close(); r.again.close(); r.source.close() })
	return r
}

// Letters for a topic that does not exist wait. After an interrupt they stay as they
// are. If other letters of their batch were delivered, they become letters again. The
// next run sends none twice.
func TestAnInterruptLeavesWhatWaits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                   string
		others                 int // letters of the batch for a topic that exists
		delivered, again, left int64
	}{
		{"nothing was delivered", 0, 0, 0, 5},
		{"some were delivered", 3, 3, 5, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("dead", 1)
			c.Topic("orders", 1)
			var all []*kgo.Record
			for i := range 5 + test.others {
				all = append(all, tooLarge("missing", i))
				if i >= 5 {
					all[i] = tooLarge("orders", i)
				}
			}
			produce(t, c, "dead", all...)
			r := newRedrive(t, c, "dead", "allow_auto_topic_creation=false")
			r.grace = 3 * time.Second // until the others are acked
			ctx, interrupt := context.WithCancel(t.Context())
			r.marks = &watchedMarks{marks: r.marks, saved: func(p *pass) {
				if len(p.Sending) > 0 { // it is about to send
					go func() {
						for len(c.Values("orders")) < test.others {
							time.Sleep(time.Millisecond)
						}
						interrupt()
					}()
				}
			}}
			require.ErrorIs(t, r.run(ctx), context.Canceled)
			require.NoError(t, r.print(t.Context()))
			require.Equal(t, account{Chosen: 5 + test.delivered, Delivered: test.delivered, FailedAgain: test.again, Left: test.left}, r.account)

			c.Topic("missing", 1)
			next := runCommand(t, "redrive", brokers(c), "dead").fine(t)
			requireAccount(t, next, 5, 5, 0, 0)
			require.NotContains(t, next.out, "copies more")
			require.Len(t, records(t, c, "missing"), 5)
			require.Len(t, records(t, c, "orders"), test.others)
		})
	}
}

// watchedMarks calls back when a mark is saved.
type watchedMarks struct {
	marks
	saved func(*pass)
}

func (w *watchedMarks) save(ctx context.Context, m *mark, p *pass) error {
	err := w.marks.save(ctx, m, p)
	w.saved(p)
	return err
}

// dyingMarks can be saved so many times.
type dyingMarks struct {
	marks
	saves int
	kill  context.CancelFunc
}

func (d *dyingMarks) save(ctx context.Context, m *mark, p *pass) error {
	if d.saves == 0 {
		d.kill()
		return context.Canceled
	}
	if len(p.Sending) > 0 {
		d.saves--
	}
	return d.marks.save(ctx, m, p)
}

func TestTwoAtATimeSendNothingTwice(t *testing.T) {
	t.Parallel()
	c := night(t)
	for name, store := range map[string]func() marks{
		"file": func() marks { return &fileMarks{path: t.TempDir() + "/mark"} },
		"group": func() marks {
			return &groupMarks{admin: c.Admin, topic: "dead", base: "g", parts: map[int32]int64{0: 0, 1: 0, 2: 0}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := store()
			m1, err := first.load(t.Context())
			require.NoError(t, err)
			p1 := m1.pass(&filter{MaxAttempts: 3})
			require.NoError(t, first.save(t.Context(), m1, p1))
			require.NoError(t, first.save(t.Context(), m1, p1))
			var second marks
			if f, is := first.(*fileMarks); is {
				second = &fileMarks{path: f.path}
			} else {
				second = store()
			}
			m2, err := second.load(t.Context())
			require.NoError(t, err)
			require.NoError(t, second.save(t.Context(), m2, m2.pass(&filter{MaxAttempts: 3})))
			require.ErrorIs(t, first.save(t.Context(), m1, p1), errOwner)
		})
	}
}

func TestAccountThatDoesNotBalanceFails(t *testing.T) {
	t.Parallel()
	c := night(t)
	var o offsets
	produce(t, c, "orders", &kgo.Record{Value: []byte("x")})
	log := records(t, c, "orders")[0]
	o.add("orders", log.Partition, log.Offset)
	said, err := o.check(t.Context(), c.Admin, 1)
	require.NoError(t, err)
	require.Equal(t, "at as many offsets of orders", said)
	_, err = o.check(t.Context(), c.Admin, 2)
	require.ErrorContains(t, err, "2 letters were acknowledged, at only 1 different offsets")
	o.add("orders", log.Partition, 7)
	_, err = o.check(t.Context(), c.Admin, 2)
	require.ErrorContains(t, err, "ends at offset 1, but a letter was acknowledged at offset 7")
	require.False(t, (&account{Chosen: 2, Delivered: 1}).balances())
}

func TestOffsetsAreKeptInStretches(t *testing.T) {
	t.Parallel()
	var o offsets
	for _, n := range []int64{5, 6, 8, 2, 7, 3, 4, 8, 100} {
		o.add("t", 0, n)
	}
	require.EqualValues(t, 8, o.count())
	require.Equal(t, []stretch{{2, 9}, {100, 101}}, o.all[topicPartition{"t", 0}])
}

func TestRedriveNeedsToKnowWhereTo(t *testing.T) {
	t.Parallel()
	path := file(t, "letters.jsonl", "x")
	r := runCommand(t, "redrive", path)
	require.ErrorContains(t, r.failed, "where do the letters belong? Name the config of the stream with --config, or brokers with --brokers")
	require.NoFileExists(t, path+sidecar)
	_, err := os.Stat(path + leftover)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A letter that the output wrote to a file becomes the original record again, once its
// topic accepts it.
func TestLettersOfTheOutputAreRedriven(t *testing.T) {
	t.Parallel()
	for _, timestamp := range []string{"1700000000000", "0", "-86400000"} { // of 2023, 1970 and 1969
		t.Run(timestamp, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1, "max.message.bytes=1000")
			path := t.TempDir() + "/letters.jsonl"
			config := file(t, "stream.yaml", `
input:
  generate:
    count: 1
    interval: ""
    mapping: |
      root = "x".repeat(5000)
      meta h = "header"
      meta other = "no header"
      meta _h = "é"
output:
  kafka_guarded:
    seed_brokers: [ "`+c.ListenAddrs()[0]+`" ]
    topic: t
    key: k
    compression: none
    timestamp_ms: `+timestamp+`
    metadata: { include_patterns: [ '^_?h$' ] }
    dead_letter: { file: { path: `+path+` } }`)
			text, err := os.ReadFile(config)
			require.NoError(t, err)
			builder := service.NewStreamBuilder()
			require.NoError(t, builder.SetYAML(string(text)+"\nlogger: { level: OFF }"))
			stream, err := builder.Build()
			require.NoError(t, err)
			require.NoError(t, stream.Run(t.Context()))
			require.Empty(t, records(t, c, "t"))

			c.Set("t", "max.message.bytes", "10000")
			requireAccount(t, runCommand(t, "redrive", "--config", config).fine(t), 1, 1, 0, 0)
			got := records(t, c, "t")
			require.Len(t, got, 1)
			require.Equal(t, strings.Repeat("x", 5000), string(got[0].Value))
			require.Equal(t, "k", string(got[0].Key))
			require.Equal(t, timestamp, strconv.FormatInt(got[0].Timestamp.UnixMilli(), 10))
			require.ElementsMatch(t, []kgo.RecordHeader{header("h", "header"), header("_h", "é")}, got[0].Headers)
		})
	}
}
