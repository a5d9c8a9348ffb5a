package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/adminclient"
	"github.com/keytail/keytail/internal/clustertime"
)

type syncCommand struct {
	adminFlags
	Revision string        `arg:"" help:"The revision of a write, from its response: 16 hex digits."`
	Scope    string        `env:"-" enum:"instance,fleet" default:"fleet" help:"Wait for the instance that receives the request, or for every live instance: instance or fleet."`
	Timeout  time.Duration `env:"-" default:"5s" help:"How long to wait, at most 1m. After that, the exit code is 1."`
}

func (c *syncCommand) run(ctx context.Context, p process, wrong error) int {
	if _, err := clustertime.Parse(c.Revision); err != nil {
		wrong = errors.Join(wrong, errors.New("the revision must be 16 hex digits, as a response has it"))
	}
	wrong = errors.Join(wrong, checkWait(c.Timeout))
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		began := time.Now()
		answer, err := s.Sync(ctx, c.Revision, c.Scope, c.Timeout)
		if err != nil {
			return err
		}
		if s.json {
			s.out.object(answer.Raw)
		} else {
			s.out.instances(answer.Instances, answer.Missing)
		}
		if !answer.Synced {
			s.note("%s have the revision in %s, not yet %s", syncedCount(&answer.SyncResult), took(time.Since(began)), strings.Join(answer.Missing, ", "))
			return errNo
		}
		s.note("%s have the revision in %s", syncedCount(&answer.SyncResult), took(time.Since(began)))
		return nil
	})
}

// instances prints a table of instances, with those that are missing.
func (p *screen) instances(all []api.Instance, missing []string) {
	var rows [][]string
	for _, i := range all {
		synced := "yes"
		if slices.Contains(missing, i.ID) {
			synced = "no"
		}
		rows = append(rows, []string{i.ID, synced, value(i.Revision), instant(i.LastSeen.Time)})
	}
	p.table([]string{"ID", "SYNCED", "REVISION", "LAST SEEN"}, rows)
}

type instancesCommand struct {
	adminFlags
}

func (c *instancesCommand) run(ctx context.Context, p process, wrong error) int {
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		list, err := s.Instances(ctx)
		if err != nil {
			return err
		}
		if s.json {
			s.out.object(list.Raw)
			return nil
		}
		var rows [][]string
		for _, i := range list.Instances {
			staleness := ""
			if i.StalenessMS != nil {
				staleness = fmt.Sprintf("%d ms", *i.StalenessMS)
			}
			rows = append(rows, []string{i.ID, i.Version, value(i.Revision), staleness, instant(i.LastSeen.Time)})
		}
		s.out.table([]string{"ID", "VERSION", "REVISION", "STALENESS", "LAST SEEN"}, rows)
		return nil
	})
}

type eventsCommand struct {
	adminFlags
	LastEventID string `name:"last-event-id" env:"-" placeholder:"ID" help:"Continue after this event. Default: begin now."`
}

func (c *eventsCommand) run(ctx context.Context, p process, wrong error) int {
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		err := s.Follow(ctx, c.LastEventID, s.event, func(err error) { s.note("the stream broke, reconnecting: %v", err) })
		if stopped(ctx, err) {
			return nil // Ctrl-C is the normal end
		}
		return err
	})
}

// event prints an event on one line, immediately.
func (s *session) event(e adminclient.Event) error {
	var fields map[string]any
	if err := json.Unmarshal(e.Data, &fields); err != nil {
		return fmt.Errorf("an event cannot be read: is the server keytail? %w", err)
	}
	if s.json {
		text, _ := json.Marshal(struct { // always marshals: the data is valid JSON
			ID    string          `json:"id"`
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data"`
		}{e.ID, string(e.Kind), e.Data})
		s.out.line("%s", text)
		return s.out.failed
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		words = append(words, fmt.Sprintf("%s=%v", name, fields[name]))
	}
	s.out.line("%s  %-12s  %s", time.Now().UTC().Format(time.RFC3339), plain(string(e.Kind)), plain(strings.Join(words, " ")))
	return s.out.failed
}
