package devmongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// failPoint is the state of `configureFailPoint: failCommand`. The zero value is off.
type failPoint struct {
	on         bool
	times      int64 // how often it still applies; negative: always
	skip       int64 // how many matching commands it still skips
	applied    int64
	commands   []string
	namespace  string
	appName    string
	code       int64
	labels     []string
	labelled   bool // errorLabels were specified, possibly empty
	closes     bool
	block      time.Duration
	concernErr bson.D
}

func configureFailPoint(o *op) (bson.D, error) {
	if name := o.a.value("configureFailPoint"); name != "failCommand" {
		return nil, refuse(codeBadValue, "failpoint '%v' not found", name)
	}
	var f failPoint
	if err := f.setMode(o.a.value("mode")); err != nil {
		return nil, err
	}
	if data := o.a.document("data"); f.on {
		if err := f.setData(data); err != nil {
			return nil, err
		}
	}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	applied := o.s.fail.applied
	o.s.fail = f
	return bson.D{{Key: "count", Value: applied}, {Key: "ok", Value: 1.0}}, nil
}

func (f *failPoint) setMode(mode any) error {
	f.on, f.times = true, -1
	switch m := mode.(type) {
	case string:
		if m == "off" {
			f.on = false
			return nil
		}
		if m == "alwaysOn" {
			return nil
		}
	case bson.D:
		a := newArgs("mode", m)
		f.times, f.skip = a.integer("times", -1), a.integer("skip", 0)
		return a.finish()
	}
	return refuse(codeBadValue, "the mode of a failpoint must be 'off', 'alwaysOn', {times: n} or {skip: n}")
}

func (f *failPoint) setData(data bson.D) error {
	a := newArgs("data", data)
	f.commands = stringsOf(a.array("failCommands"))
	f.namespace, f.appName, f.code = a.str("namespace"), a.str("appName"), a.integer("errorCode", 0)
	f.closes = a.boolean("closeConnection")
	f.labelled, f.labels = !isMissing(field(data, "errorLabels")), stringsOf(a.array("errorLabels"))
	f.concernErr = a.document("writeConcernError")
	ms := a.integer("blockTimeMS", 0)
	if a.boolean("blockConnection") {
		f.block = time.Duration(ms) * time.Millisecond
	}
	if len(f.commands) == 0 && a.err == nil {
		return refuse(codeBadValue, "failCommands must name at least one command")
	}
	return a.finish()
}

func stringsOf(a bson.A) []string {
	var out []string
	for _, v := range a {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// failPoint applies the failpoint to the command if it matches.
func (o *op) failPoint() error {
	f := &o.s.fail
	if !f.on || o.name == "configureFailPoint" || !slices.Contains(f.commands, o.name) || (f.appName != "" && f.appName != o.c.appName) {
		return nil
	}
	if coll, _ := field(o.a.doc, o.name).(string); f.namespace != "" && f.namespace != o.db+"."+coll {
		return nil
	}
	if f.skip > 0 {
		f.skip--
		return nil
	}
	if f.times == 0 {
		return nil
	}
	f.times--
	f.applied++
	return o.fault(*f)
}

// fault makes the command wait, fail, or lose its connection.
func (o *op) fault(f failPoint) error {
	if f.block > 0 {
		if err := o.pause(f.block); err != nil {
			return err
		}
	}
	if f.closes {
		return errHangUp
	}
	if f.code != 0 {
		e := refuse(int32(f.code), "Failing command via 'failCommand' failpoint")
		if f.labelled {
			e.Labels = f.labels
			o.unlabelled = true
		}
		return e
	}
	if f.concernErr != nil {
		o.concernError = f.concernErr
	}
	return nil
}

// pause releases the lock for some time.
func (o *op) pause(d time.Duration) error {
	ctx, cancel := context.WithTimeout(o.ctx, d)
	defer cancel()
	o.s.mu.Unlock()
	<-ctx.Done()
	o.s.mu.Lock()
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	return nil
}
