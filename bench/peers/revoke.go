package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Revocation measures for how long a key is accepted after its revocation.
type Revocation struct {
	// Address is that of the proxy.
	Address string
	// Revoke writes the revocation of the i-th key and returns when the write is
	// acknowledged.
	Revoke func(ctx context.Context, i int) error
	// TTL is the lifetime of entries in the service's cache. With a TTL the keys are revoked
	// at the same time, each at a random age of its entry. Zero: one after the other.
	TTL time.Duration
	// Limit is how long to wait for a refusal.
	Limit time.Duration
}

// LastAcceptances revokes the keys, the first of which is number first, while a client asks
// with each of them. It returns for each the time from the acknowledgement to the last
// answer that accepts the key, and 0 if none came after the acknowledgement.
func (v *Revocation) LastAcceptances(ctx context.Context, keys []string, first int) ([]time.Duration, error) {
	all, failures := make([]time.Duration, len(keys)), make([]error, len(keys))
	if v.TTL == 0 {
		for i, key := range keys {
			if all[i], failures[i] = v.lastAcceptance(ctx, key, first+i); failures[i] != nil {
				return nil, failures[i]
			}
		}
		return all, nil
	}
	var group sync.WaitGroup
	for i, key := range keys {
		group.Go(func() { all[i], failures[i] = v.lastAcceptance(ctx, key, first+i) })
	}
	group.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

var errRefusedBefore = errors.New("a key is refused before its revocation")

// pause is the time between two requests of a client while entries live for a TTL. It is
// the precision of the figure. Without a TTL there is no pause.
const pause = 20 * time.Millisecond

func (v *Revocation) lastAcceptance(ctx context.Context, key string, number int) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := asker{client: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}, address: v.Address, key: key}
	defer c.client.CloseIdleConnections()
	if accepted, err := c.ask(ctx); err != nil || !accepted {
		return 0, errors.Join(errRefusedBefore, err)
	}
	wait := time.Duration(0)
	if v.TTL > 0 {
		c.pause, wait = pause, rand.N(v.TTL)
	}
	refused := make(chan error, 1)
	go func() { refused <- c.untilRefused(ctx) }()
	select {
	case <-time.After(wait):
	case err := <-refused:
		return 0, errors.Join(errRefusedBefore, err)
	}
	if err := v.Revoke(ctx, number); err != nil {
		return 0, err
	}
	acknowledged := time.Now()
	select {
	case err := <-refused:
		return max(0, c.accepted.Sub(acknowledged)), err
	case <-time.After(v.Limit):
		return 0, fmt.Errorf("a revoked key is accepted %v after its revocation", v.Limit)
	}
}

// asker sends requests with one key.
type asker struct {
	client       *http.Client
	address, key string
	pause        time.Duration
	// accepted is when the last answer that accepts the key was received.
	accepted time.Time
}

func (a *asker) untilRefused(ctx context.Context) error {
	for {
		accepted, err := a.ask(ctx)
		if err != nil || !accepted {
			return err
		}
		a.accepted = time.Now()
		if a.pause > 0 {
			time.Sleep(a.pause)
		}
	}
}

// ask reports whether the key is accepted. Any status but 200, 401 and 403 is an error.
func (a *asker) ask(ctx context.Context) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.address+"/api", http.NoBody)
	if err != nil {
		return false, err
	}
	r.Header.Set("Authorization", "Bearer "+a.key)
	response, err := a.client.Do(r)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return false, err
	}
	switch response.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return false, nil
	default:
		return false, fmt.Errorf("the proxy answers %s", response.Status)
	}
}
