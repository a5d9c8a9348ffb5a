package history

import (
	"fmt"
	"time"
)

// fill makes a record of the fields of a line.
func (r *Reader) fill(name string) (Record, error) {
	switch name {
	case "header":
		if !r.has("format") || !r.has("version") {
			return nil, fmt.Errorf("a header needs the fields format (%q) and version (%d)", Format, Version)
		}
		r.header = Header{}
		return &r.header, r.each(r.headerField)
	case "write":
		r.write = Write{}
		return &r.write, r.each(r.writeField)
	case "answer":
		r.answer = Answer{}
		return &r.answer, r.each(r.answerField)
	case "acknowledgement":
		r.acknowledgement = Acknowledgement{}
		return &r.acknowledgement, r.each(r.acknowledgementField)
	case "fault":
		r.fault = Fault{}
		return &r.fault, r.each(r.faultField)
	case "outage":
		r.outage = Outage{}
		return &r.outage, r.each(r.outageField)
	case "initial":
		r.initial = Initial{}
		return &r.initial, r.each(r.initialField)
	case "clock":
		r.clock = Clock{}
		return &r.clock, r.each(r.clockField)
	}
	return nil, fmt.Errorf("its type is %q: want header, write, answer, acknowledgement, fault, outage, initial or clock", name)
}

// each calls set for each field that is not null, which reports whether the type of
// record has it.
func (r *Reader) each(set func(f *field) (known bool, err error)) error {
	for i := range r.fields {
		f := &r.fields[i]
		if f.isNull() {
			continue
		}
		switch known, err := set(f); {
		case err != nil:
			return err
		case !known && string(f.name) != "type" && string(f.name) != "note":
			return fmt.Errorf("this type of record has no field %q: put what is your own into the field note", f.name)
		}
	}
	return nil
}

func (r *Reader) headerField(f *field) (bool, error) {
	h := &r.header
	switch string(f.name) {
	case "format":
		format, err := r.text(f)
		if err == nil && format != Format {
			err = fmt.Errorf("format must be %q", Format)
		}
		return true, err
	case "version":
		version, err := f.number()
		if err == nil && version != Version {
			err = fmt.Errorf("version is %v, and this program reads version %d", version, Version)
		}
		return true, err
	case "max_stale_ms":
		return true, set(&h.MaxStaleMS, f.number)
	case "clock_uncertainty_ms":
		return true, set(&h.ClockUncertaintyMS, f.number)
	case "resolution_ms":
		h.ResolutionMS = new(float64)
		return true, set(h.ResolutionMS, f.number)
	case "fenced":
		return true, set(&h.Fenced, f.bool)
	case "requests":
		return true, r.set(&h.Requests, f)
	case "initial":
		return true, set(&h.Initial, f.strings)
	case "description":
		return true, r.set(&h.Description, f)
	case "topology":
		return true, r.set(&h.Topology, f)
	case "clock":
		return true, r.set(&h.Clock, f)
	case "recorded":
		return true, set(&h.Recorded, f.time)
	}
	return false, nil
}

func (r *Reader) writeField(f *field) (bool, error) {
	w := &r.write
	switch string(f.name) {
	case "key":
		return true, r.set(&w.Key, f)
	case "state":
		return true, r.set(&w.State, f)
	case "sent":
		return true, set(&w.Sent, f.time)
	case "acknowledged":
		return true, set(&w.Acknowledged, f.time)
	case "outcome":
		return true, r.set(&w.Outcome, f)
	case "w":
		return true, r.set(&w.Concern, f)
	case "revision":
		return true, set(&w.Revision, f.string)
	case "expires":
		return true, set(&w.Expires, f.time)
	}
	return false, nil
}

func (r *Reader) answerField(f *field) (bool, error) {
	a := &r.answer
	switch string(f.name) {
	case "key":
		return true, r.set(&a.Key, f)
	case "code":
		return true, r.set(&a.Code, f)
	case "asked":
		return true, set(&a.Asked, f.time)
	case "given":
		return true, set(&a.Given, f.time)
	case "as_of":
		return true, set(&a.AsOf, f.time)
	case "staleness_ms":
		a.StalenessMS = &r.staleness
		return true, set(a.StalenessMS, f.number)
	case "revision":
		return true, set(&a.Revision, f.string)
	case "min_revision":
		return true, set(&a.MinRevision, f.string)
	case "instance":
		return true, r.set(&a.Instance, f)
	case "source":
		return true, r.set(&a.Source, f)
	}
	return false, nil
}

func (r *Reader) acknowledgementField(f *field) (bool, error) {
	a := &r.acknowledgement
	switch string(f.name) {
	case "scope":
		return true, r.set(&a.Scope, f)
	case "instance":
		return true, r.set(&a.Instance, f)
	case "at":
		return true, set(&a.At, f.time)
	case "revision":
		return true, set(&a.Revision, f.string)
	case "covers":
		return true, set(&a.Covers, f.time)
	}
	return false, nil
}

func (r *Reader) faultField(f *field) (bool, error) {
	if string(f.name) == "name" {
		return true, r.set(&r.fault.Name, f)
	}
	return r.spanField(f, &r.fault.From, &r.fault.To, &r.fault.Instance)
}

func (r *Reader) outageField(f *field) (bool, error) {
	return r.spanField(f, &r.outage.From, &r.outage.To, &r.outage.Instance)
}

func (r *Reader) spanField(f *field, from, to *time.Time, instance *string) (bool, error) {
	switch string(f.name) {
	case "from":
		return true, set(from, f.time)
	case "to":
		return true, set(to, f.time)
	case "instance":
		return true, r.set(instance, f)
	}
	return false, nil
}

func (r *Reader) initialField(f *field) (bool, error) {
	switch string(f.name) {
	case "key":
		return true, r.set(&r.initial.Key, f)
	case "states":
		return true, set(&r.initial.States, f.strings)
	}
	return false, nil
}

func (r *Reader) clockField(f *field) (bool, error) {
	c := &r.clock
	switch string(f.name) {
	case "at":
		return true, set(&c.At, f.time)
	case "machine":
		return true, r.set(&c.Machine, f)
	case "offset_ms":
		c.OffsetMS = new(float64)
		return true, set(c.OffsetMS, f.number)
	case "text":
		return true, r.set(&c.Text, f)
	}
	return false, nil
}

// set stores the value of a field.
func set[T any](to *T, read func() (T, error)) (err error) {
	*to, err = read()
	return err
}

func (r *Reader) set(to *string, f *field) (err error) {
	*to, err = r.text(f)
	return err
}
