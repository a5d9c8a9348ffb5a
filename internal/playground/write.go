package playground

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// start runs a function in Run, and waits a moment for its end.
func (p *Playground) start(ctx context.Context, do func(context.Context)) error {
	done := make(chan struct{})
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case p.work <- func(ctx context.Context) {
		defer close(done)
		do(ctx)
	}:
	case <-timer.C:
		return errors.New("keytail is starting or stopping: try again")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

func (p *Playground) create(ctx context.Context) error {
	p.mu.Lock()
	full := len(p.keys)+p.creating >= MaxKeys
	if !full {
		p.creating++
		p.problem = ""
	}
	p.mu.Unlock()
	if full {
		return errFull
	}
	err := p.start(ctx, p.insert)
	if err != nil {
		p.mu.Lock()
		p.creating--
		p.mu.Unlock()
	}
	return err
}

// insert makes a key.
func (p *Playground) insert(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	made, err := p.config.Owner.Create(ctx)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.creating--
	if err != nil {
		p.problem = "No new key: " + failure(err, "Try again when it is reachable.")
		return
	}
	k := &key{number: p.freeNumberLocked(), id: made.ID, text: made.Text, prefix: made.Prefix, made: p.config.Now()}
	k.lanes[laneMongoDB].see(k.made, Answer{Code: apikey.Valid})
	p.keys = append(p.keys, k)
	p.news = k.name() + " is valid."
}

func (p *Playground) freeNumberLocked() int {
	n := 1
	for slices.ContainsFunc(p.keys, func(k *key) bool { return k.number == n }) {
		n++
	}
	return n
}

func (p *Playground) findLocked(number string) (*key, error) {
	for _, k := range p.keys {
		if strconv.Itoa(k.number) == number {
			return k, nil
		}
	}
	return nil, errGone
}

// forget removes a key from the page. Its document stays as it is.
func (p *Playground) forget(number string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, err := p.findLocked(number)
	if err != nil {
		return err
	}
	if k.writing {
		return errWriting
	}
	p.cache.Forget(k.text)
	p.keys = slices.DeleteFunc(p.keys, func(other *key) bool { return other == k })
	p.news = k.name() + " is not on the page any more."
	return nil
}

// change begins a write of a key.
func (p *Playground) change(ctx context.Context, number string, what action) error {
	c := &change{action: what, valid: what == restore}
	p.mu.Lock()
	k, err := p.findLocked(number)
	if err == nil && k.writing {
		err = errWriting
	}
	if err == nil {
		k.writing, p.problem = true, ""
		k.begin(c, p.config.Now())
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	err = p.start(ctx, func(ctx context.Context) { p.write(ctx, k, c) })
	if err != nil {
		p.mu.Lock()
		k.writing = false
		k.undo(c)
		p.mu.Unlock()
	}
	return err
}

// write makes a change, and watches how fast keytail notices.
func (p *Playground) write(ctx context.Context, k *key, c *change) {
	limited, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	written := make(chan error, 1)
	go func() { written <- p.store(limited, k, c) }()
	p.watch(ctx, k, c)
	if err := <-written; err == nil {
		p.watch(ctx, k, c)
	}
}

// store writes to MongoDB, and notes its acknowledgement.
func (p *Playground) store(ctx context.Context, k *key, c *change) error {
	var err error
	if c.action == remove {
		err = p.config.Owner.Delete(ctx, k.id)
	} else {
		err = p.config.Owner.SetActive(ctx, k.id, c.valid)
	}
	now := p.config.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	k.writing = false
	k.writes++
	if err != nil {
		k.undo(c)
		p.problem = k.name() + " may be unchanged: " + failure(err, "Its lane shows whether it took effect. If not, try again.")
		return err
	}
	k.acknowledge(c, now)
	k.lanes[laneMongoDB].see(now, Answer{Code: c.result()})
	p.news = k.name() + " is " + c.action.done() + "."
	if !c.notices[laneKeytail].at.IsZero() {
		p.tellLocked(k, laneKeytail)
	}
	return nil
}

// result is what MongoDB holds after the change.
func (c *change) result() apikey.Code {
	switch c.action {
	case restore:
		return apikey.Valid
	case remove:
		return apikey.NotFound
	case revoke, elsewhere:
	}
	return apikey.Disabled
}
