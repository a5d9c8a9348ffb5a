package delays

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/internal/timing"
)

// liveState is the state in which the daemon answers from its cache.
const liveState = "live"

// Daemon is a daemon that can be killed and started again, then with other addresses and
// tokens.
type Daemon struct {
	config child.Config
	client *http.Client

	mutex   sync.Mutex
	current *child.Daemon
}

// StartDaemon starts a daemon, and returns when it serves.
func StartDaemon(ctx context.Context, c child.Config) (*Daemon, error) {
	d := &Daemon{config: c, client: &http.Client{Timeout: callTimeout}}
	return d, d.Restart(ctx)
}

// Kill9 ends the process with SIGKILL.
func (d *Daemon) Kill9() { d.now().Kill() }

// Restart starts another process, and returns when it serves. Call it after Kill9.
func (d *Daemon) Restart(ctx context.Context) error {
	next, err := child.Start(ctx, d.config)
	if err != nil {
		return err
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.current = next
	return nil
}

func (d *Daemon) now() *child.Daemon {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.current
}

// health is what the daemon says about itself.
type health struct {
	// live: it answers from a complete cache.
	live bool
	// asOf is the time that the cache describes, or a little earlier.
	asOf time.Time
	// loss is when it last lost its history. Zero: never.
	loss time.Time
}

// awaitLive waits until the daemon answers from a complete cache that describes a time after
// the given one: a heartbeat that was sent after it has come back.
func (d *Daemon) awaitLive(ctx context.Context, after time.Time, limit time.Duration) (health, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for timing.Sleep(ctx, 10*time.Millisecond) {
		if h, err := d.health(ctx); err == nil && h.live && h.asOf.After(after) {
			return h, nil
		}
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return health{}, ctx.Err()
	}
	return health{}, fmt.Errorf("the daemon is not live within %v; its log ends with:\n%s", limit, d.now().LogTail())
}

func (d *Daemon) health(ctx context.Context) (health, error) {
	sent := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.now().Operations+api.PathReady, http.NoBody)
	if err != nil {
		return health{}, err
	}
	response, err := d.client.Do(request)
	if err != nil {
		return health{}, err
	}
	defer func() { _ = response.Body.Close() }()
	var body api.Readiness
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return health{}, err
	}
	h := health{live: body.State == liveState && body.Complete}
	if body.StalenessMS != nil {
		h.asOf = sent.Add(-time.Duration(*body.StalenessMS) * time.Millisecond)
	}
	if body.LastLoss != nil {
		h.loss = body.LastLoss.At.Time
	}
	return h, nil
}
