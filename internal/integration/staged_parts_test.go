package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/validator"
)

// partsAnomalies are anomalies that need an exact interleaving, or that are impossible with
// a single node: a majority read that is older than the events of its stream. They use the
// cache and the validator, with a collection in memory and a clock that stands still.
func partsAnomalies() []anomaly {
	return append(slices.Concat(duplicateAnomalies(), baseAnomalies(), frontAnomalies()), []anomaly{
		{name: "stale set", shows: []string{"SeqBeforeRead"}, covered: []string{"ChangeFloor"}, stage: onParts(staleSet), scopes: noStream},
		{name: "late stale read", shows: []string{"ChangeFloor"}, covered: []string{"SeqBeforeRead"}, stage: onParts(lateStaleRead), scopes: noStream},
		{name: "waiter that joins late", shows: []string{"Revalidate"}, stage: onParts(lateWaiter), scopes: noStream},
		{
			name:    "fill while the history is lost",
			shows:   []string{"EpochAtOpen", "TrustedStore+EvenEpoch+SameEpoch"},
			covered: []string{"TrustedStore", "EvenEpoch", "SameEpoch", "TrustedStore+EvenEpoch", "EvenEpoch+SameEpoch"},
			stage:   onParts(fillDuringLoss), scopes: noStream,
		},
		{name: "hash that appears in an update", shows: []string{"ByHash"}, covered: []string{"ByID"}, stage: onParts(appearsAfterNegative), scopes: noStream},
		{name: "hash that appears after the scan", shows: []string{"AbsentByHash"}, covered: []string{"ByHash"}, stage: onParts(appearsAfterScan), scopes: noStream},
		{name: "absence from before a loss", shows: []string{"AbsentEpoch"}, covered: []string{"SameEpoch"}, stage: onParts(absentBeforeLoss), scopes: noStream},
		{name: "older than max stale", shows: []string{"MaxStale"}, stage: onParts(tooOld), scopes: noStream},
	}...)
}

// noStream are the scopes of anomalies without a stream: one is enough.
var noStream = testkit.Scopes[:1]

// parts has a cache, a validator, and a collection in memory with one key and its history.
type parts struct {
	*validator.Validator
	t     *testing.T
	cache *keycache.Cache
	text  string
	hash  apikey.Hash

	mutex    sync.Mutex
	versions map[clustertime.Time]keystore.Document
	now      clustertime.Time
	// lags: a majority read returns the oldest allowed snapshot.
	lags bool
	// held: reads wait for this channel before they return. Nil: they do not wait.
	held chan struct{}
}

const partsID = apikey.DocID("the document")

func onParts(run func(p *parts) string) stage {
	return onPartsWith(keycache.Config{Slots: fewSlots}, run)
}

// onPartsWith is onParts with this configuration of the cache, whose size is not used.
func onPartsWith(config keycache.Config, run func(p *parts) string) stage {
	config.SizeMiB, config.Complete = 16, true
	return func(t *testing.T, _ string) (answer string) {
		synctest.Test(t, func(t *testing.T) {
			text, err := apikey.Generate(apikey.DefaultPrefix, nil)
			if err != nil {
				t.Fatal(err)
			}
			cache, err := keycache.New(config)
			if err != nil {
				t.Fatal(err)
			}
			p := &parts{t: t, cache: cache, text: text, hash: apikey.HashOf(text), versions: map[clustertime.Time]keystore.Document{}}
			p.Validator, err = validator.New(validator.Config{Cache: cache, Store: p})
			if err != nil {
				t.Fatal(err)
			}
			answer = run(p)
		})
		return answer
	}
}

// write makes the key active or not at the next cluster time, without an event.
func (p *parts) write(active bool) clustertime.Time {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.now++
	p.versions[p.now] = keystore.Document{
		ID: partsID, Hash: p.hash, HasHash: true, Record: apikey.Record{KeyID: string(partsID), UserID: "user-1", Active: active},
	}
	return p.now
}

// deliver applies a change of this time as an update without a hash, and makes the stream
// fresh again: a heartbeat that was sent after the write has completed its round trip.
func (p *parts) deliver(at clustertime.Time) {
	p.cache.Apply(&keycache.Change{ID: partsID, Time: at})
	p.fresh()
}

func (p *parts) fresh() {
	time.Sleep(time.Millisecond) // synctest's clock: this takes no real time
	p.cache.Fresh(keycache.Freshness{AsOf: time.Now(), Processed: p.now})
}

// open opens a stream after all earlier writes, and makes it fresh.
func (p *parts) open() {
	p.cache.Open(p.now)
	p.fresh()
}

func (p *parts) validate() apikey.Verdict {
	return p.Validate(context.Background(), p.text, &apikey.Request{})
}

// hold makes reads wait before they return, until the returned function is called.
func (p *parts) hold() func() {
	held := make(chan struct{})
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.held = held
	return func() {
		p.mutex.Lock()
		p.held = nil
		p.mutex.Unlock()
		close(held)
	}
}

// read returns the document in the newest snapshot or, if lags, in the oldest allowed one.
func (p *parts) read(oldest clustertime.Time) (keystore.Document, bool, error) {
	p.mutex.Lock()
	snapshot := p.now
	if p.lags {
		snapshot = oldest
	}
	var found clustertime.Time
	for at := range p.versions {
		if at <= snapshot {
			found = max(found, at)
		}
	}
	document, held := p.versions[found], p.held
	p.mutex.Unlock()
	if held != nil {
		<-held
	}
	return document, document.HasHash, nil
}

func (p *parts) FindByHash(_ context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error) {
	if h != p.hash {
		return keystore.Document{}, false, fmt.Errorf("read for another hash")
	}
	return p.read(after)
}

func (p *parts) FindByIDs(_ context.Context, _ []apikey.DocID, after clustertime.Time) ([]keystore.Document, error) {
	document, found, err := p.read(after)
	if !found {
		return nil, err
	}
	return []keystore.Document{document}, err
}

func (p *parts) FindLinearizable(_ context.Context, _ apikey.Hash) (keystore.Document, bool, error) {
	return p.read(p.now)
}

func (p *parts) Inspect(context.Context) error { return nil }

// staleSet: a read finds the key valid, the key is revoked, and then the cache stores the
// result of the read.
func staleSet(p *parts) string {
	p.write(true)
	p.open()
	letGo := p.hold()
	go p.validate()
	synctest.Wait()
	p.deliver(p.write(false))
	letGo()
	synctest.Wait()
	return violation(p.validate(), apikey.Disabled)
}

// lateStaleRead: a read begins after the revocation has been applied, and returns a
// snapshot from before it.
func lateStaleRead(p *parts) string {
	p.lags = true
	p.write(true)
	p.open()
	p.deliver(p.write(false))
	p.validate()
	return violation(p.validate(), apikey.Disabled)
}

// lateWaiter: a caller that comes after the revocation joins a read that began
// before it.
func lateWaiter(p *parts) string {
	p.write(true)
	p.open()
	letGo := p.hold()
	go p.validate()
	synctest.Wait()
	p.deliver(p.write(false))
	var late apikey.Verdict
	go func() { late = p.validate() }()
	synctest.Wait()
	letGo()
	synctest.Wait()
	return violation(late, apikey.Disabled)
}

// fillDuringLoss: a document is refreshed between a loss and the new stream, and
// changes before the new stream opens.
func fillDuringLoss(p *parts) string {
	at := p.write(true)
	p.open()
	p.cache.Apply(&keycache.Change{ID: partsID, Time: at, Refresh: true})
	p.cache.Lose()
	ticket := p.cache.Begin()
	document, _, _ := p.read(ticket.Floor())
	p.cache.Store(ticket, document.Hash, keycache.Found(document.ID, &document.Record))
	p.write(false)
	p.open()
	return violation(p.validate(), apikey.Disabled)
}

// appears moves the key's hash to the document, by an update without a later refresh.
func (p *parts) appears() {
	p.cache.Apply(&keycache.Change{ID: partsID, Time: p.write(true), Hash: p.hash, HasHash: true})
	p.fresh()
}

func appearsAfterNegative(p *parts) string {
	p.open()
	if w := violation(p.validate(), apikey.NotFound); w != "" {
		p.t.Fatal(w)
	}
	p.appears()
	return violation(p.validate(), apikey.Valid)
}

// scan makes the cache complete.
func (p *parts) scan() {
	scan, err := p.cache.BeginScan(keycache.ScanIntoEmpty, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	if document, found, _ := p.read(scan.Ticket().Floor()); found {
		scan.Add(document.Hash, keycache.Finding{Found: true, ID: document.ID, Record: &document.Record})
	}
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
}

func appearsAfterScan(p *parts) string {
	p.open()
	p.scan()
	p.appears()
	return violation(p.validate(), apikey.Valid)
}

func absentBeforeLoss(p *parts) string {
	p.open()
	p.scan()
	p.cache.Lose()
	p.write(true)
	p.open()
	return violation(p.validate(), apikey.Valid)
}

// tooOld: the stream has not been fresh for longer than max_stale.
func tooOld(p *parts) string {
	p.write(true)
	p.open()
	p.validate()
	p.write(false)
	time.Sleep(keycache.DefaultMaxStale + time.Second)
	return violation(p.validate(), apikey.Disabled)
}
