//go:build integration

// Package containers_test runs beside a fleet of keytail containers, in their
// network, while .ci/compose kills and pauses containers.
package containers_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// maxStale is the default of --max-stale, which the compose file does not change.
	maxStale = 15 * time.Second
	// startTimeout limits the time until the fleet knows the keys of the test.
	startTimeout = 60 * time.Second
	// agreeTimeout limits the time until all instances agree after the last fault.
	agreeTimeout = 60 * time.Second
	// faultsTimeout limits the time that .ci/compose takes for its faults.
	faultsTimeout = 10 * time.Minute

	keyCount       = 5000
	revokeInterval = 100 * time.Millisecond
	writeTimeout   = 5 * time.Second
	askTimeout     = 3 * time.Second
	askInterval    = 2 * time.Millisecond
	// recentKeys are the keys around the last revocation that are used most.
	recentKeys = 20
)

// TestNoLateAcceptance revokes keys, one after the other, and uses them on every
// instance and through nginx. No answer may accept a key from data newer than its
// revocation, or later than max_stale after it, and no answer may refuse a valid key.
//
// KEYTAIL_TEST_FLEET lists the addresses, KEYTAIL_TEST_SIGNALS is a directory in
// which the test creates the file ready, and waits for the file done.
func TestNoLateAcceptance(t *testing.T) {
	fleet := os.Getenv("KEYTAIL_TEST_FLEET")
	if fleet == "" {
		t.Skip("KEYTAIL_TEST_FLEET names no fleet; .ci/compose starts one")
	}
	signals := os.Getenv("KEYTAIL_TEST_SIGNALS")
	r := newRun(t, strings.Split(fleet, ","))
	// An instance that knows the last key knows all keys, because it was inserted last.
	for _, url := range r.urls {
		r.eventually(startTimeout, func() error { return r.expect(url, keyCount-1, "VALID") })
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { r.revoke(ctx) })
	for _, url := range r.urls {
		group.Go(func() { r.use(ctx, url) })
		group.Go(func() { r.use(ctx, url) })
	}
	signal(t, filepath.Join(signals, "ready"))
	r.eventually(faultsTimeout, func() error {
		_, err := os.Stat(filepath.Join(signals, "done"))
		return err
	})
	stop()
	group.Wait()
	r.agree()
	r.report()
}

// run is the state that the goroutines of the test share.
type run struct {
	t      *testing.T
	urls   []string
	client *http.Client
	keys   *mongo.Collection
	texts  []string

	mu sync.Mutex
	// acknowledged is when the revocation of a key was acknowledged. Zero: it was
	// not, or its outcome is unknown.
	acknowledged [keyCount]time.Time
	// begun is how many revocations have begun; those keys may be DISABLED.
	begun   int
	unknown int
	codes   map[string]map[string]int // by address and code
	latest  time.Duration             // of an acceptance after an acknowledgement
}

func newRun(t *testing.T, urls []string) *run {
	t.Helper()
	opts := options.Client().ApplyURI(os.Getenv("KEYTAIL_TEST_MONGODB_URI")).
		SetServerSelectionTimeout(writeTimeout).SetWriteConcern(writeconcern.Majority())
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	r := &run{
		t: t, urls: urls, keys: client.Database("keytail").Collection("api_keys"),
		client: &http.Client{Timeout: askTimeout}, codes: map[string]map[string]int{},
	}
	for _, url := range urls {
		r.codes[url] = map[string]int{}
	}
	r.insertKeys()
	return r
}

func (r *run) insertKeys() {
	r.t.Helper()
	documents := make([]any, keyCount)
	for i := range documents {
		text, err := apikey.Generate(apikey.DefaultPrefix, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		r.texts = append(r.texts, text)
		documents[i] = bson.D{
			{Key: "_id", Value: id(i)},
			{Key: "key_hash", Value: apikey.HashOf(text).Hex()},
			{Key: "user_id", Value: "u1"},
			{Key: "name", Value: "a key"},
			{Key: "scopes", Value: bson.A{"orders:read"}},
			{Key: "is_active", Value: true},
			{Key: "created_at", Value: time.Now()},
		}
	}
	if _, err := r.keys.DeleteMany(r.t.Context(), bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: "late-"}, {Key: "$lt", Value: "late."}}}}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.keys.InsertMany(r.t.Context(), documents); err != nil {
		r.t.Fatal(err)
	}
}

func id(i int) string { return fmt.Sprintf("late-%04d", i) }

// revoke disables key after key until ctx ends.
func (r *run) revoke(ctx context.Context) {
	ticker := time.NewTicker(revokeInterval)
	defer ticker.Stop()
	// The last keys stay valid.
	for i := range keyCount - recentKeys {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.mu.Lock()
		r.begun = i + 1
		r.mu.Unlock()
		// Not ctx: cancelling the write would make its outcome unknown.
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		_, err := r.keys.UpdateByID(writing, id(i), bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
		cancel()
		now := time.Now()
		r.mu.Lock()
		if err == nil {
			r.acknowledged[i] = now
		} else {
			r.unknown++
		}
		r.mu.Unlock()
	}
}

// use validates keys at one address until ctx ends: recently revoked ones, the next to be
// revoked, and others.
func (r *run) use(ctx context.Context, url string) {
	for ctx.Err() == nil {
		i := r.choose()
		r.mu.Lock()
		before := r.acknowledged[i]
		mayBeDisabled := i < r.begun
		r.mu.Unlock()
		began := time.Now()
		got, err := r.verify(ctx, url, i)
		if err != nil {
			got.Code = "no answer"
		}
		r.mu.Lock()
		r.codes[url][got.Code]++
		mayBeDisabled = mayBeDisabled || i < r.begun
		r.mu.Unlock()
		r.check(url, i, before, began, got, mayBeDisabled)
		time.Sleep(askInterval)
	}
}

func (r *run) choose() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rand.IntN(4) == 0 {
		return rand.IntN(keyCount)
	}
	return max(0, min(keyCount-1, r.begun-recentKeys/2+rand.IntN(recentKeys)))
}

// check compares the answer to a request that began at this time with the revocations
// acknowledged before it.
func (r *run) check(url string, i int, revoked, began time.Time, got answer, mayBeDisabled bool) {
	switch {
	case got.Code == "VALID" && !revoked.IsZero():
		late := began.Sub(revoked)
		r.mu.Lock()
		r.latest = max(r.latest, late)
		r.mu.Unlock()
		if late > maxStale {
			r.t.Errorf("%s accepts %s %v after its revocation was acknowledged: %v", url, id(i), late, got)
		}
		// The answer is at least as new as began, less the staleness that it reports.
		if got.StalenessMS != nil && late > time.Duration(*got.StalenessMS+1)*time.Millisecond {
			r.t.Errorf("%s accepts %s %v after its revocation was acknowledged, from newer data: %v", url, id(i), late, got)
		}
	case got.Code == "DISABLED" && !mayBeDisabled, got.Code == "NOT_FOUND":
		r.t.Errorf("%s refuses the valid key %s: %v", url, id(i), got)
	}
}

// answer has the fields of a verify response that the test reads.
type answer struct {
	Code        string `json:"code"`
	Source      string `json:"source"`
	AsOf        string `json:"as_of"`
	StalenessMS *int64 `json:"staleness_ms"`
}

func (r *run) verify(ctx context.Context, url string, i int) (answer, error) {
	var got answer
	body, err := json.Marshal(map[string]string{"key": r.texts[i]})
	if err != nil {
		return got, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/keys/verify", bytes.NewReader(body))
	if err != nil {
		return got, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return got, err
	}
	defer func() { _ = response.Body.Close() }()
	return got, json.NewDecoder(response.Body).Decode(&got)
}

func (a answer) String() string {
	staleness := "none"
	if a.StalenessMS != nil {
		staleness = fmt.Sprintf("%d ms", *a.StalenessMS)
	}
	return fmt.Sprintf("%s from %s, as of %s, staleness %s", a.Code, a.Source, a.AsOf, staleness)
}

func (r *run) expect(url string, i int, want string) error {
	got, err := r.verify(r.t.Context(), url, i)
	if err == nil && got.Code != want {
		err = fmt.Errorf("%s: got %v for %s, want %s", url, got, id(i), want)
	}
	return err
}

// agree waits until every address answers as the collection says.
func (r *run) agree() {
	r.t.Helper()
	var documents []struct {
		ID     string `bson:"_id"`
		Active bool   `bson:"is_active"`
	}
	cursor, err := r.keys.Find(r.t.Context(), bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: "late-"}, {Key: "$lt", Value: "late."}}}})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cursor.All(r.t.Context(), &documents); err != nil {
		r.t.Fatal(err)
	}
	active := map[string]bool{}
	for _, d := range documents {
		active[d.ID] = d.Active
	}
	for i := range keyCount {
		if !r.acknowledged[i].IsZero() && active[id(i)] {
			r.t.Errorf("the server has lost the acknowledged revocation of %s", id(i))
		}
	}
	for _, url := range r.urls {
		// All revoked keys, and as many others.
		for i := range min(keyCount, 2*r.begun) {
			want := "DISABLED"
			if active[id(i)] {
				want = "VALID"
			}
			r.eventually(agreeTimeout, func() error { return r.expect(url, i, want) })
		}
	}
}

func (r *run) report() {
	revoked := 0
	for _, at := range r.acknowledged {
		if !at.IsZero() {
			revoked++
		}
	}
	r.t.Logf("%d revocations acknowledged, %d of unknown outcome; the latest acceptance began %v after an acknowledgement (max_stale %v)",
		revoked, r.unknown, r.latest, maxStale)
	for _, url := range r.urls {
		r.t.Logf("%s: %v", url, r.codes[url])
		seen := maps.Clone(r.codes[url])
		if seen["VALID"] == 0 || seen["DISABLED"] == 0 {
			r.t.Errorf("%s was not tested: %v", url, seen)
		}
	}
	if revoked < 100 {
		r.t.Errorf("only %d keys were revoked", revoked)
	}
}

// eventually repeats an attempt until it succeeds.
func (r *run) eventually(timeout time.Duration, attempt func() error) {
	r.t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := attempt()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatal(cmp.Or(err, r.t.Context().Err()))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func signal(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
