package wire

import "math"

// cuts knows from which size on requests are cut: the connection ends without an
// answer, each time, while smaller ones are answered. Brokers do that to
// requests over socket.request.max.bytes, and some services over a limit of
// their own.
type cuts struct {
	answered int // the largest request that had an answer
	size     int // the smallest that was cut and is larger, 0 for none
	inARow   int // since anything larger than answered had an answer
}

// cutsSuspicious is how often in a row a request is cut before its size is
// taken for the reason.
const cutsSuspicious = 3

// cut notes that a request of a size was cut.
func (c *cuts) cut(size int) {
	if size <= c.answered {
		return
	}
	c.inARow++
	if c.size == 0 || size < c.size {
		c.size = size
	}
}

func (c *cuts) answer(size int) {
	c.answered = max(c.answered, size)
	if c.size > 0 && c.answered >= c.size {
		c.size, c.inARow = 0, 0
	}
}

// most returns the size up to which requests with more than one partition are
// written, 0 for any.
func (c *cuts) most() int {
	if c.inARow < cutsSuspicious {
		return 0
	}
	return max(c.answered, c.size/2)
}

// proven reports whether an endpoint takes a request of that size, since it has
// answered one as large, up to the next number that may be a limit. Else requests
// that grow would be tried out one after another.
func (l *Log) proven(size int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return size <= nextLimit(l.cuts.answered)
}

// nextLimit is the least number that is no less than n and that somebody would
// choose for a limit: a multiple of a power of ten or two, or of 1024 times a power
// of ten, that is at most a quarter of it.
func nextLimit(n int) int {
	next := math.MaxInt
	for _, unit := range []struct{ least, base int }{{1, 10}, {1024, 10}, {1, 2}} {
		u := unit.least
		for u*unit.base <= n/4 {
			u *= unit.base
		}
		next = min(next, (n+u-1)/u*u)
	}
	return next
}

// Cut returns from which size on requests are cut again and again, and how often
// in a row they were, 0 if none are.
func (l *Log) Cut() (size, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cuts.inARow < cutsSuspicious {
		return 0, 0
	}
	return l.cuts.size, l.cuts.inARow
}
