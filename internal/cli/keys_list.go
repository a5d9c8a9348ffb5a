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

// pageFlags select a part of a list.
type pageFlags struct {
	Limit  int    `env:"-" placeholder:"N" help:"Page size, at most 500. Default: 50."`
	Cursor string `env:"-" placeholder:"CURSOR" help:"The cursor that the previous page ended with."`
	All    bool   `env:"-" help:"All pages."`
}

// each reads the selected pages, and returns the cursor of the next one.
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
			return "", errors.New("the next page of the list is the same page: is the server keytail?")
		}
		if q.Cursor = page.Next; !f.All || page.Next == "" {
			return page.Next, nil
		}
	}
}

// list prints pages as they arrive: as one JSON object with the list under this
// name, or as a table.
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
			s.out.write("\n") // incomplete output is not valid JSON, so no script uses it
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
	UserID        string `name:"user-id" env:"-" placeholder:"ID" help:"Only this user's keys."`
	OrgID         string `name:"org-id" env:"-" placeholder:"ID" help:"Only keys of this organisation."`
	ProjectID     string `name:"project-id" env:"-" placeholder:"ID" help:"Only keys of this project."`
	Unused        string `env:"-" placeholder:"DURATION" help:"Only keys that were created, and not used, for this long, such as 90d."`
	ExpiresWithin string `env:"-" placeholder:"DURATION" help:"Only keys that expire within this time, such as 14d, and have not yet."`
	Off           bool   `name:"include-inactive" env:"-" help:"Include disabled keys."`
	pageFlags
	Quiet bool `short:"q" env:"-" help:"Print only ids."`
}

// query reads the flags that select keys.
func (c *keysListCommand) query() (adminclient.Query, error) {
	unused, unusedErr := readPeriod("unused", c.Unused)
	expires, expiresErr := readPeriod("expires-within", c.ExpiresWithin)
	return adminclient.Query{
		UserID: c.UserID, OrgID: c.OrgID, ProjectID: c.ProjectID, IncludeInactive: c.Off,
		UnusedFor: unused, ExpiresWithin: expires,
	}, errors.Join(unusedErr, expiresErr)
}

// readPeriod reads a duration of days or hours. Empty: zero.
func readPeriod(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	period, err := parseDuration(text)
	if err != nil || period <= 0 {
		return 0, fmt.Errorf("--%s must be a duration such as 90d or 12h", flag)
	}
	return period, nil
}

// checkOwner refuses an empty id, such as "$ORG" in a script that has no value: the
// list would have everybody's keys, and may be what the script revokes.
func (c *keysListCommand) checkOwner(p process) error {
	var wrong error
	for _, flag := range [][2]string{{"user-id", c.UserID}, {"org-id", c.OrgID}, {"project-id", c.ProjectID}} {
		if p.given[flag[0]] && flag[1] == "" {
			wrong = errors.Join(wrong, fmt.Errorf("--%s is empty: give an id, or leave the flag out", flag[0]))
		}
	}
	return wrong
}

func (c *keysListCommand) run(ctx context.Context, p process, wrong error) int {
	q, err := c.query()
	return c.adminFlags.run(ctx, p, errors.Join(wrong, err, c.checkOwner(p)), func(ctx context.Context, s *session) error {
		header := []string{"ID", "NAME", "STATE", "USER", "ORG", "PROJECT", "SCOPES", "EXPIRES", "LAST USED"}
		now := time.Now()
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
					k.ID, shortened(k.Name), keyState(k, now), k.UserID, value(k.OrgID), value(k.ProjectID), shortened(strings.Join(k.Scopes, " ")),
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

// shortened keeps the lines of a table readable; get and json show everything.
func shortened(text string) string {
	const enough = 40
	if letters := []rune(text); len(letters) > enough {
		return string(letters[:enough-1]) + "…"
	}
	return text
}

type auditCommand struct {
	adminFlags
	KeyID  string `name:"key-id" env:"-" placeholder:"ID" help:"Only entries about this key."`
	UserID string `name:"user-id" env:"-" placeholder:"ID" help:"Only entries about keys of this user."`
	Action string `name:"action" env:"-" placeholder:"ACTION" help:"Only entries with this action: create, update, revoke, rotate, delete; get, explain, list; login_failed, denied."`
	pageFlags
}

func (c *auditCommand) run(ctx context.Context, p process, wrong error) int {
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		header := []string{"AT", "ACTOR", "ACTION", "KEY", "USER", "DETAILS"}
		q := adminclient.Query{UserID: c.UserID, KeyID: c.KeyID, Action: c.Action}
		read := func(q adminclient.Query) (*adminclient.Page, error) { return s.Audit(ctx, q) }
		return s.list("entries", &c.pageFlags, q, read, func(items []json.RawMessage) error {
			entries, err := decodeAll[api.AuditEntry](items)
			if err != nil {
				return err
			}
			var rows [][]string
			for i := range entries {
				e := &entries[i]
				rows = append(rows, []string{instant(e.At.Time), e.Actor, actionOf(e), e.KeyID, e.UserID, detailsOf(e)})
			}
			return s.out.rows(&header, rows)
		})
	})
}

// actionOf is the action with its cause.
func actionOf(e *api.AuditEntry) string {
	if e.Cause == nil {
		return e.Action
	}
	return e.Action + "/" + *e.Cause
}

// detailsOf is what an entry says beside who, what and which key.
func detailsOf(e *api.AuditEntry) string {
	switch {
	case e.Count == nil:
		return changed(e)
	case e.Action == "list":
		return fmt.Sprintf("%d keys", *e.Count)
	case e.Source != nil:
		return fmt.Sprintf("%d from %s", *e.Count, *e.Source)
	}
	return fmt.Sprintf("%d from several addresses", *e.Count)
}

// changed are the names of the changed fields: json shows their values.
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
		return "" // the action means that the whole key changed
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return strings.Join(sorted, " ")
}

func isNull(object json.RawMessage) bool { return len(object) == 0 || string(object) == "null" }
