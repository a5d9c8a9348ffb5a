package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/keytail/keytail/api"
)

const (
	// maxPasses bounds how often an owner's keys are looked for again, because keys
	// may be created meanwhile.
	maxPasses = 10
	// maxShown bounds how many keys a message names.
	maxShown = 20
)

// ownerRevocation revokes all keys of an owner, page by page.
type ownerRevocation struct {
	*session
	request api.RevokeKeysRequest
	bar     progressBar
	// result is that of all pages together.
	result api.RevokedKeys
}

// owner revokes all keys of an owner, or prints them.
func (c *keysRevokeCommand) owner(ctx context.Context, s *session) error {
	r := &ownerRevocation{session: s, request: api.RevokeKeysRequest{UserID: c.UserID, OrgID: c.OrgID, ProjectID: c.ProjectID}}
	r.result = api.RevokedKeys{KeyIDs: []string{}, Failed: []api.FailedKey{}, DryRun: c.DryRun}
	began := time.Now()
	if c.DryRun {
		return r.show(ctx, c.ownerText())
	}
	if err := r.prepare(ctx, c); err != nil {
		return err
	}
	err := r.revokeAll(ctx)
	r.bar.end()
	n := keyCount(len(r.result.KeyIDs))
	if err != nil && len(r.result.KeyIDs) > 0 {
		return fmt.Errorf("at least %s of %s revoked, not all: %w. The same command continues, also with the --admin-url of another instance", n, c.ownerText(), err)
	}
	if err != nil {
		return err
	}
	acknowledged, syncErr := s.Sync(ctx, value(r.result.Revision), c.Wait, c.Timeout)
	if syncErr == nil {
		r.result.SyncResult = &acknowledged.SyncResult
	}
	r.print()
	if len(r.result.KeyIDs)+len(r.result.Failed) == 0 {
		s.note("%s has no active key: check the id if you expected one", c.ownerText())
	}
	err = s.reportRefused("revoked "+n+" of "+c.ownerText(), r.result.SyncResult, r.result.Revision, time.Since(began))
	if syncErr != nil {
		return syncErr
	}
	return errors.Join(err, r.reportFailed())
}

// keyCount is "1 key" or "7 keys".
func keyCount(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}

// prepare counts the keys if a person is there to see the number, and asks.
func (r *ownerRevocation) prepare(ctx context.Context, c *keysRevokeCommand) error {
	if c.Yes && !isTTY(r.stderr) {
		return nil
	}
	n := 0
	if err := r.pass(ctx, true, func(page *api.RevokedKeys) { n += len(page.KeyIDs) }); err != nil {
		return err
	}
	if n > 0 && !c.Yes {
		if err := confirm(ctx, r.process, fmt.Sprintf("revoke %s of %s?", keyCount(n), c.ownerText())); err != nil {
			return err
		}
	}
	if isTTY(r.stderr) {
		r.bar = progressBar{out: r.stderr, total: n}
		r.bar.show(0)
	}
	return nil
}

// revokeAll makes passes until one finds nothing to revoke.
func (r *ownerRevocation) revokeAll(ctx context.Context) error {
	for range maxPasses {
		before := len(r.result.KeyIDs)
		r.result.Failed = r.result.Failed[:0]
		err := r.pass(ctx, false, func(page *api.RevokedKeys) {
			r.result.KeyIDs = append(r.result.KeyIDs, page.KeyIDs...)
			r.result.Failed = append(r.result.Failed, page.Failed...)
			if page.Revision != nil && value(page.Revision) > value(r.result.Revision) {
				r.result.Revision = page.Revision
			}
			r.bar.show(len(r.result.KeyIDs))
		})
		if err != nil || len(r.result.KeyIDs) == before {
			return err
		}
	}
	return errors.New("keys are created as fast as they are revoked: stop what creates them")
}

// pass requests all pages once.
func (r *ownerRevocation) pass(ctx context.Context, dryRun bool, add func(*api.RevokedKeys)) error {
	request := r.request
	request.DryRun = dryRun
	for {
		page, err := r.RevokeKeys(ctx, request)
		if err != nil {
			return err
		}
		add(&page.RevokedKeys)
		if page.NextCursor == nil {
			return nil
		}
		if *page.NextCursor == request.Cursor || *page.NextCursor == "" {
			return errors.New("the next page of the list is the same page: is the server keytail?")
		}
		request.Cursor = *page.NextCursor
	}
}

// show prints the ids of a dry run.
func (r *ownerRevocation) show(ctx context.Context, owner string) error {
	err := r.pass(ctx, true, func(page *api.RevokedKeys) { r.result.KeyIDs = append(r.result.KeyIDs, page.KeyIDs...) })
	if err != nil {
		return err
	}
	if r.json {
		r.print()
	} else {
		for _, id := range r.result.KeyIDs {
			r.out.line("%s", plain(id))
		}
	}
	r.note("%s of %s would be revoked", keyCount(len(r.result.KeyIDs)), owner)
	return nil
}

// print prints the result as JSON in the form of a response, or as a table.
func (r *ownerRevocation) print() {
	if r.json {
		text, err := json.Marshal(r.result)
		if err != nil {
			r.out.failed = err
			return
		}
		r.out.object(text)
		return
	}
	failed := ""
	if n := len(r.result.Failed); n > 0 {
		failed = fmt.Sprint(n)
	}
	r.out.record([][2]string{{"revoked", fmt.Sprint(len(r.result.KeyIDs))}, {"failed", failed}, {"revision", value(r.result.Revision)}}...)
}

// reportFailed names the keys that are still active.
func (r *ownerRevocation) reportFailed() error {
	if len(r.result.Failed) == 0 {
		return nil
	}
	for i, f := range r.result.Failed {
		if i == maxShown {
			r.note("and %d more; -o json shows them all", len(r.result.Failed)-maxShown)
			break
		}
		r.note("the key %s is still active: %s", f.KeyID, f.Detail)
	}
	return errNo
}

// confirm asks a person. Everything but yes is an error.
func confirm(ctx context.Context, p process, question string) error {
	_, _ = fmt.Fprintf(p.stderr, "keytail: %s [y/N] ", question)
	answered := make(chan string, 1)
	// A read from a terminal cannot be interrupted: the process ends first.
	go func() {
		line, _ := bufio.NewReader(p.stdin()).ReadString('\n')
		answered <- line
	}()
	select {
	case line := <-answered:
		if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
			return nil
		}
		return errors.New("nothing was revoked")
	case <-ctx.Done():
		_, _ = fmt.Fprintln(p.stderr)
		return errors.New("nothing was revoked")
	}
}

// progressBar shows progress on a terminal. The zero value shows nothing.
type progressBar struct {
	out   io.Writer
	total int
}

// barWidth is in characters.
const barWidth = 30

func (b *progressBar) show(done int) {
	if b.out == nil || b.total == 0 {
		return
	}
	filled := min(done*barWidth/b.total, barWidth)
	_, _ = fmt.Fprintf(b.out, "\r[%s%s] %d of %d keys", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), done, max(done, b.total))
}

// end leaves the bar as it is, on a line of its own.
func (b *progressBar) end() {
	if b.out != nil && b.total > 0 {
		_, _ = fmt.Fprintln(b.out)
	}
}
