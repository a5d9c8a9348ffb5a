package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/adminclient"
)

// pageFlags say which part of a list.
type pageFlags struct {
	Limit  int    `env:"-" placeholder:"N" help:"How many at a time, at most 500. Default: 50."`
	Cursor string `env:"-" placeholder:"CURSOR" help:"Where to go on, as the page before has said."`
	All    bool   `env:"-" help:"All of them, page by page."`
}

// each walks over the pages that are asked for, and returns where the list goes on.
func (f *pageFlags) each(q adminclient.Query, read func(adminclient.Query) (*adminclient.Page, error), show func([]json.RawMessage) error) (string, error) {
	q.Limit, q.Cursor = f.Limit, f.Cursor
	for {
		page, err := read(q)
		if err != nil {
			return "", err
		}
		if err := show(page.Items); err != nil {
			return "", err
		}
		if page.Next == q.Cursor && page.Next != "" {
			return "", errors.New("the server says that the list goes on where it has begun: is it keytail?")
		}
		if q.Cursor = page.Next; !f.All || page.Next == "" {
			return page.Next, nil
		}
	}
}

// list prints pages as they come: as one object with the list under this name, or
// as a table.
func (s *session) list(name string, f *pageFlags, q adminclient.Query, read func(adminclient.Query) (*adminclient.Page, error), show func([]json.RawMessage) error) error {
	first := true
	if s.json {
		s.out.write(fmt.Sprintf("{\n  %q: [", name))
		show = func(items []json.RawMessage) error {
			for _, item := range items {
				s.out.item(item, &first)
			}
			return s.out.failed
		}
	}
	next, err := f.each(q, read, show)
	if err != nil {
		if s.json {
			s.out.write("\n") // what is cut off is no JSON, so no script takes it for all
		}
		return err
	}
	if s.json {
		text, _ := json.Marshal(next)
		if next == "" {
			text = []byte("null")
		}
		s.out.line("\n  ],\n  \"next_cursor\": %s\n}", text)
	} else if next != "" {
		s.note("there are more: --cursor %s goes on, --all shows all", next)
	}
	return nil
}

// item prints one of a list.
func (p *screen) item(raw json.RawMessage, first *bool) {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "    ", "  "); err != nil {
		p.failed = err
		return
	}
	separator := ",\n    "
	if *first {
		separator, *first = "\n    ", false
	}
	p.write(separator + b.String())
}

// decodeAll reads the items of a page.
func decodeAll[T any](items []json.RawMessage) ([]T, error) {
	all := make([]T, len(items))
	for i, item := range items {
		if err := json.Unmarshal(item, &all[i]); err != nil {
			return nil, fmt.Errorf("the server's list cannot be read, is it keytail's? %w", err)
		}
	}
	return all, nil
}

// rows prints a table, with its header before the first page.
func (p *screen) rows(header *[]string, rows [][]string) error {
	if len(rows) > 0 || *header != nil {
		p.table(*header, rows)
	}
	*header = nil
	return p.failed
}

type keysListCommand struct {
	adminFlags
	UserID string `name:"user-id" env:"-" placeholder:"ID" help:"Only this user's keys."`
	Off    bool   `name:"include-inactive" env:"-" help:"Also keys that are switched off."`
	pageFlags
	Quiet bool `short:"q" env:"-" help:"Print ids and nothing else."`
}

func (c *keysListCommand) run(ctx context.Context, p process, wrong error) int {
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		header := []string{"ID", "NAME", "STATE", "USER", "SCOPES", "EXPIRES", "LAST USED"}
		now := time.Now()
		q := adminclient.Query{UserID: c.UserID, IncludeInactive: c.Off}
		read := func(q adminclient.Query) (*adminclient.Page, error) { return s.List(ctx, q) }
		return s.list("keys", &c.pageFlags, q, read, func(items []json.RawMessage) error {
			keys, err := decodeAll[api.Key](items)
			if err != nil {
				return err
			}
			var rows [][]string
			for i := range keys {
				k := &keys[i]
				if s.quietly(c.Quiet, k.ID) {
					continue
				}
				rows = append(rows, []string{
					k.ID, shortened(k.Name), keyState(k, now), k.UserID, shortened(strings.Join(k.Scopes, " ")),
					instantOrNone(k.ExpiresAt), instantOrNone(k.LastUsed),
				})
			}
			if c.Quiet {
				return s.out.failed
			}
			return s.out.rows(&header, rows)
		})
	})
}

// shortened keeps a table's lines readable; get and json have it all.
func shortened(text string) string {
	const enough = 40
	if letters := []rune(text); len(letters) > enough {
		return string(letters[:enough-1]) + "…"
	}
	return text
}

type auditCommand struct {
	adminFlags
	KeyID  string `name:"key-id" env:"-" placeholder:"ID" help:"Only what was done to this key."`
	UserID string `name:"user-id" env:"-" placeholder:"ID" help:"Only what was done to this user's keys."`
	pageFlags
}

func (c *auditCommand) run(ctx context.Context, p process, wrong error) int {
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		header := []string{"AT", "ACTOR", "ACTION", "KEY", "USER", "CHANGED"}
		q := adminclient.Query{UserID: c.UserID, KeyID: c.KeyID}
		read := func(q adminclient.Query) (*adminclient.Page, error) { return s.Audit(ctx, q) }
		return s.list("entries", &c.pageFlags, q, read, func(items []json.RawMessage) error {
			entries, err := decodeAll[api.AuditEntry](items)
			if err != nil {
				return err
			}
			var rows [][]string
			for i := range entries {
				e := &entries[i]
				rows = append(rows, []string{instant(e.At.Time), e.Actor, e.Action, e.KeyID, e.UserID, changed(e)})
			}
			return s.out.rows(&header, rows)
		})
	})
}

// changed are the fields of a line, by name: json has what they were.
func changed(e *api.AuditEntry) string {
	names := map[string]bool{}
	for _, object := range []json.RawMessage{e.Before, e.After} {
		var fields map[string]json.RawMessage
		if json.Unmarshal(object, &fields) == nil {
			for name := range fields {
				names[name] = true
			}
		}
	}
	if e.NewKeyID != nil {
		return "new key " + *e.NewKeyID
	}
	if isNull(e.Before) != isNull(e.After) {
		return "" // all of a key: its action says so
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return strings.Join(sorted, " ")
}

func isNull(object json.RawMessage) bool { return len(object) == 0 || string(object) == "null" }
