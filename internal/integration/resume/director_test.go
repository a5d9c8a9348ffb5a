package resume

import (
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// director makes a service begin at a point: it changes the first request of the stream and the
// first scan, and shows each read of keys the oldest documents that it may see.
type director struct {
	recording *recording
	start     start
	// scanning is closed when the first scan is requested, scan when it may go on.
	scanning, scan chan struct{}
	opens, scans   int
	requests       int
	release        sync.Once
}

func (d *director) intercept(c *command) action {
	switch c.class {
	case classOpen:
		if d.opens++; d.opens == 1 {
			return action{rewritten: d.open(c.body)}
		}
	case classGetMore:
		if d.opens > 1 {
			d.goOn() // the history was lost: nothing more to direct
			break
		}
		if d.requests++; d.start.scanAt >= 0 && d.requests > d.start.scanAt {
			d.goOn()
		}
		return action{held: d.scanning, rewritten: with(c.body, "batchSize", d.start.batch)}
	case classScan:
		a := action{rewritten: d.read(c.body)}
		if d.scans++; d.scans == 1 {
			close(d.scanning)
			a.held = d.scan
		}
		return a
	case classRead, classRefresh:
		return action{rewritten: d.read(c.body)}
	}
	return action{}
}

// goOn lets the first scan read.
func (d *director) goOn() { d.release.Do(func() { close(d.scan) }) }

// open makes the first request for a stream one for a stream at the point. Nothing may come with
// its reply: the scan must be able to begin before the first event.
func (d *director) open(body bson.Raw) bson.D {
	var request struct {
		Pipeline []bson.D `bson:"pipeline"`
	}
	if err := bson.Unmarshal(body, &request); err != nil {
		panic(err)
	}
	spec := bson.D{{Key: "startAtOperationTime", Value: timestamp(d.start.at)}}
	if d.start.byToken {
		spec = bson.D{{Key: "resumeAfter", Value: d.start.token}}
	}
	request.Pipeline[0] = bson.D{{Key: "$changeStream", Value: spec}}
	return with(rawOf(with(body, "pipeline", request.Pipeline)), "cursor", bson.D{{Key: "batchSize", Value: 0}})
}

// read makes a read one of the oldest documents that it may see. After a token, the cache contains
// the token's event.
func (d *director) read(body bson.Raw) bson.D {
	if level, _ := body.Lookup("readConcern", "level").StringValueOK(); level != "majority" || !d.recording.past {
		return nil
	}
	at := d.recording.first.Before()
	if seconds, increment, ok := body.Lookup("readConcern", "afterClusterTime").TimestampOK(); ok {
		at = max(at, clustertime.New(seconds, increment))
	}
	if d.start.byToken {
		at = max(at, d.start.at)
	}
	if at > d.recording.last {
		return nil
	}
	return with(body, "readConcern", snapshotAt(at))
}

// with returns the document with another value of a field.
func with(body bson.Raw, key string, value any) bson.D {
	var d bson.D
	if err := bson.Unmarshal(body, &d); err != nil {
		panic(err)
	}
	for i := range d {
		if d[i].Key == key {
			d[i].Value = value
			return d
		}
	}
	return append(d, bson.E{Key: key, Value: value})
}

func rawOf(d bson.D) bson.Raw {
	raw, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return raw
}
