package partition

import "slices"

// Renew has a partition begin anew, since its topic is another one of the same name.
func (p *Partition) Renew() {
	p.mu.Lock()
	if p.shared.Idempotent {
		p.hasID, p.ownID = false, true
	}
	// What is in doubt is gone with the topic, unless it was written by name.
	if p.byName() {
		p.forgets = true
		p.mayForget()
	} else {
		p.resolved(nil)
	}
	p.goOn()
}

// Evacuate gives the records of a partition that is no more back to the topic.
func (p *Partition) Evacuate() {
	p.mu.Lock()
	p.evacuated = true
	p.goOn()
}

// Leave takes all records out of the partition that are not in flight.
func (p *Partition) Leave() []*Record {
	p.mu.Lock()
	defer p.unlock()
	p.resolved(nil)
	var records []*Record
	for _, b := range p.resend {
		records = append(records, b.Records...)
	}
	for _, bl := range p.blocked {
		records = append(records, bl.behind...)
	}
	for r, timer := range p.later {
		timer.Stop()
		records = append(records, r)
	}
	records = append(records, p.queue...)
	p.resend, p.queue, p.blocked, p.later = nil, nil, nil, nil
	records = slices.DeleteFunc(records, isOut)
	slices.SortStableFunc(records, func(a, b *Record) int { return int(int64(a.order - b.order)) })
	for _, r := range records {
		r.part.Store(nil)
		r.doubt = false
	}
	p.queued.Store(0)
	return records
}

// Forget has the partition take no records any more: its topic is out of use.
func (p *Partition) Forget() {
	p.mu.Lock()
	defer p.unlock()
	p.gone = true
}
