package broker

import (
	"sync"
	"time"
)

// sizes is what a broker taught of the size of requests: some endpoints close the
// connection on larger ones (Event Hubs; socket.request.max.bytes).
type sizes struct {
	mu         sync.Mutex
	answeredTo int // the largest that was answered
	cutFrom    int // the smallest above it on which the connection ended, 0 for none
	cutAt      time.Time
}

const (
	// firstRequest is up to which size the first requests are made.
	firstRequest = 1_000_000
	// leastRequest is below which requests are not made smaller.
	leastRequest = 16 << 10
	// cutAge is after how long a larger request is tried again.
	cutAge = time.Minute
)

// limit is up to which size requests are made. It grows with what was answered, and stays
// below what was not.
func (s *sizes) limit() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := max(firstRequest, 2*s.answeredTo)
	if s.cutFrom > 0 {
		limit = min(limit, max(s.cutFrom/2, s.answeredTo, leastRequest))
	}
	return limit
}

func (s *sizes) answered(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answeredTo = max(s.answeredTo, size)
	if size >= s.cutFrom || time.Since(s.cutAt) > cutAge {
		s.cutFrom = 0
	}
}

// cut notes that the connection ended without an answer to a request. It returns the size
// if none as large was ever answered, else 0.
func (s *sizes) cut(size int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size <= max(s.answeredTo, leastRequest) {
		return 0
	}
	if s.cutFrom == 0 || size < s.cutFrom {
		s.cutFrom = size
	}
	s.cutAt = time.Now()
	return size
}

// BatchLimit is up to which size batches for the broker are made.
func (n *Node) BatchLimit() int { return n.sizes.limit() - requestOverhead }
