package playground

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Fault is what is wrong with the connections to MongoDB.
type Fault int

// The faults.
const (
	None Fault = iota
	Cut
	Frozen
)

// The commands of the page's buttons. A TTL is commandTTL with its seconds.
const (
	commandCreate  = "create"
	commandRevoke  = "revoke"
	commandRestore = "restore"
	commandDelete  = "delete"
	commandForget  = "forget"
	commandCut     = "cut"
	commandFreeze  = "freeze"
	commandHeal    = "heal"
	commandTTL     = "ttl-"
)

var (
	// errCommand means that there is no such button.
	errCommand = errors.New("the page has no such button: load it again")
	// errGone: the page of another tab has removed the key.
	errGone = errors.New("this key is not on the page any more: load the page again")
	// errWriting: one write of a key at a time.
	errWriting = errors.New("MongoDB has not answered the last change of this key yet")
	// errFull: see MaxKeys.
	errFull = fmt.Errorf("there are %d keys on the page already: delete one, and remove it", MaxKeys)
)

// settleTime is how long a command waits for MongoDB, so that a page that is loaded after
// it shows the outcome. The write goes on after that.
const settleTime = 300 * time.Millisecond

// Do does what a button says. number is that of the key, if the button belongs to one. It
// returns soon: a write goes on while MongoDB does not answer. The error is a sentence for
// the person.
func (p *Playground) Do(ctx context.Context, command, number string) error {
	if seconds, is := strings.CutPrefix(command, commandTTL); is {
		return p.useTTL(seconds)
	}
	switch command {
	case commandCut:
		p.disturb(Cut)
		return nil
	case commandFreeze:
		p.disturb(Frozen)
		return nil
	case commandHeal:
		p.disturb(None)
		return nil
	case commandCreate:
		return p.create(ctx)
	case commandForget:
		return p.forget(number)
	case commandRevoke:
		return p.change(ctx, number, revoke)
	case commandRestore:
		return p.change(ctx, number, restore)
	case commandDelete:
		return p.change(ctx, number, remove)
	}
	return errCommand
}

// useTTL begins with an empty cache, as a service that is restarted with another setting.
func (p *Playground) useTTL(seconds string) error {
	n, err := strconv.Atoi(seconds)
	ttl := time.Duration(n) * time.Second
	if err != nil || !isTTL(ttl) {
		return errCommand
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cache = NewTTLCache(p.config.Service, ttl, p.config.Now)
	for _, k := range p.keys {
		k.lanes[laneTTL].reads = 0
	}
	p.news = "The TTL cache was restarted with " + shortTime(ttl) + "."
	return nil
}

// disturb begins a fault, or ends it.
func (p *Playground) disturb(fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fault == p.fault {
		return
	}
	now := p.config.Now()
	if n := len(p.faults); n > 0 && p.faults[n-1].to.IsZero() {
		p.faults[n-1].to = now
	}
	p.fault = fault
	p.config.Faults.Heal()
	switch fault {
	case Cut:
		p.config.Faults.Cut()
	case Frozen:
		p.config.Faults.Freeze()
	case None:
	}
	if fault != None {
		p.faults = append(p.faults, span{fault: fault, from: now})
		p.faults = p.faults[max(0, len(p.faults)-maxSpans):]
	}
	p.news = fault.words()
}
