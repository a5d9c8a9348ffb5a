package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/adminclient"
	"github.com/keytail/keytail/internal/apikey"
)

// keysCommands manage keys through the admin API.
type keysCommands struct {
	Create keysCreateCommand `cmd:"" help:"Create a key. It is shown only once, on stdout."`
	List   keysListCommand   `cmd:"" help:"List keys, newest first."`
	Get    keysGetCommand    `cmd:"" help:"Show a key."`
	Update keysUpdateCommand `cmd:"" help:"Change fields of a key. Other fields do not change."`
	Revoke keysRevokeCommand `cmd:"" help:"Disable a key, by its id or by its text, or all keys of an owner. The documents stay."`
	Rotate keysRotateCommand `cmd:"" help:"Create a key that replaces another one, which expires after --overlap. It is shown only once, on stdout."`
	Delete keysDeleteCommand `cmd:"" help:"Delete a key and its document. To keep the document, revoke the key."`
}

// ownerFlag restricts a command to one user's keys.
type ownerFlag struct {
	UserID string `name:"user-id" env:"-" placeholder:"ID" help:"Only a key of this user. Keys of other users are treated as missing."`
}

// keyArgument is the id of a key.
type keyArgument struct {
	ID string `arg:"" help:"The id of the key (not the key itself)."`
}

// check refuses a key instead of an id, which would end up in the server's logs.
func (a *keyArgument) check() error {
	if a.ID == "" {
		return errors.New("the id of the key is empty")
	}
	if apikey.IsGenerated(a.ID) {
		return errors.New("this is a key and not an id. Other users may have seen it on the command line: rotate it, or revoke it with keytail keys revoke --key-file -")
	}
	return nil
}

// keyShaped matches keys that keytail has created, also mistyped ones.
var keyShaped = regexp.MustCompile(`[a-z0-9]+_[0-9A-Za-z]{49}\b`)

// hideKeys removes such keys from a text.
func hideKeys(text string) string { return keyShaped.ReplaceAllString(text, "(a key)") }

// waitFlags ask for a write acknowledgement.
type waitFlags struct {
	Wait    string        `env:"-" enum:",instance,fleet" default:"" placeholder:"SCOPE" help:"Wait until the instance that receives the request, or every live instance, has applied the change: instance or fleet."`
	Timeout time.Duration `env:"-" default:"5s" help:"How long to wait, at most 1m. A timeout does not undo the change."`
}

func (f *waitFlags) check(p process) error {
	if f.Wait == "" && p.given["timeout"] {
		return errors.New("--timeout needs --wait instance or --wait fleet")
	}
	return checkWait(f.Timeout)
}

func checkWait(timeout time.Duration) error {
	if timeout <= 0 || timeout > time.Minute {
		return errors.New("--timeout must be more than 0 and at most 1m")
	}
	return nil
}

func (f *waitFlags) write(userID string) adminclient.Write {
	w := adminclient.Write{UserID: userID, Wait: f.Wait}
	if f.Wait != "" {
		w.Timeout = f.Timeout
	}
	return w
}

// printWritten prints the response of a write.
func (s *session) printWritten(w *adminclient.WrittenKey) {
	if s.json {
		s.out.object(w.Raw)
		return
	}
	fields := append([][2]string{{"key", w.Secret}}, keyFields(&w.Key)...)
	s.out.record(append(fields, [2]string{"revision", value(w.Revision)}, [2]string{"old key ends", instantOrNone(w.PreviousExpiresAt)})...)
}

// reportWritten reports what a write has done, such as "revoked", if the output
// does not show it.
func (s *session) reportWritten(done string, w *adminclient.WrittenKey, since time.Time) {
	if w.Secret != "" {
		s.note("the key is shown only now: it cannot be read again")
	}
	if w.SyncResult != nil {
		s.note("%s", waitMessage(done, w, time.Since(since)))
	}
}

// waitMessage returns which instances have applied a write. It warns against
// repeating one that only took long to arrive.
func waitMessage(done string, w *adminclient.WrittenKey, d time.Duration) string {
	if w.Synced {
		return fmt.Sprintf("%s on %s in %s", done, syncedCount(w.SyncResult), took(d))
	}
	if len(w.Instances) == 0 {
		return fmt.Sprintf("%s; no instance confirmed the change within %s. Do not repeat the write. To wait again: keytail sync %s", done, took(d), value(w.Revision))
	}
	return fmt.Sprintf("%s; %s applied the change within %s, not yet %s. Do not repeat the write. To wait again: keytail sync %s",
		done, syncedCount(w.SyncResult), took(d), strings.Join(w.Missing, ", "), value(w.Revision))
}

// syncedCount is "4 of 5 instances".
func syncedCount(r *api.SyncResult) string {
	return fmt.Sprintf("%d of %d instances", max(len(r.Instances)-len(r.Missing), 0), len(r.Instances))
}

// keyFields are the fields of a key in a table.
func keyFields(k *api.Key) [][2]string {
	return [][2]string{
		{"id", k.ID},
		{"name", k.Name},
		{"state", keyState(k, time.Now())},
		{"user", k.UserID},
		{"organisation", value(k.OrgID)},
		{"project", value(k.ProjectID)},
		{"scopes", strings.Join(k.Scopes, " ")},
		{"allowed ips", strings.Join(k.AllowedIPs, " ")},
		{"expires", instantOrNone(k.ExpiresAt)},
		{"created", instantOrNone(k.CreatedAt)},
		{"last used", instantOrNone(k.LastUsed)},
		{"uses", value(k.UsageCount)},
		{"begins with", value(k.KeyPrefix)},
		{"rotated from", value(k.RotatedFrom)},
		{"metadata", metadataText(k.Metadata)},
		{"defect", value(k.Defect)},
	}
}

func metadataText(m json.RawMessage) string {
	if text := string(m); text != "{}" && text != "null" {
		return text
	}
	return ""
}

// keyState is one word.
func keyState(k *api.Key, now time.Time) string {
	switch {
	case k.Defect != nil:
		return "unreadable"
	case !k.IsActive:
		return "off"
	case k.ExpiresAt != nil && !k.ExpiresAt.After(now):
		return "expired"
	}
	return "valid"
}

// readExpiry reads the expiry of a key: a time, or a duration from now. Nil:
// never.
func readExpiry(text string, now time.Time) (*api.Time, error) {
	if text == "never" {
		return nil, nil //nolint:nilnil // never is a value
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return &api.Time{Time: at}, nil
	}
	left, err := parseDuration(text)
	if err != nil || left <= 0 {
		return nil, errors.New("--expires must be a time such as 2027-01-02T15:04:05Z, a duration such as 90d or 12h, or never")
	}
	return &api.Time{Time: now.Add(left).Truncate(time.Second)}, nil
}

// maxDays is slightly less than a time.Duration can hold.
const maxDays = 100_000

// parseDuration reads a duration. Go's own has no days.
func parseDuration(text string) (time.Duration, error) {
	days, found := strings.CutSuffix(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	n, err := strconv.Atoi(days)
	if err == nil && (n > maxDays || n < -maxDays) {
		err = errors.New("too many days")
	}
	return time.Duration(n) * 24 * time.Hour, err
}

// readMetadata requires a JSON object, so that a quoting mistake is not stored.
func readMetadata(text string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil || object == nil {
		return nil, errors.New(`--metadata must be a JSON object, such as '{"team":"billing"}'`)
	}
	return json.RawMessage(text), nil
}

// restrictions are the fields that can be set on creation and changed later.
type restrictions struct {
	Name       string   `env:"-" placeholder:"NAME" help:"Name of the key, for people."`
	Scopes     []string `env:"-" placeholder:"SCOPE" help:"Scopes of the key, separated by commas; * and prefix:* are wildcards."`
	AllowedIPs []string `name:"allowed-ips" env:"-" placeholder:"CIDR" help:"Client addresses and networks that may use the key, separated by commas."`
	Expires    string   `env:"-" placeholder:"WHEN" help:"When the key expires: a time such as 2027-01-02T15:04:05Z, a duration from now such as 90d or 12h, or never."`
	Metadata   string   `env:"-" placeholder:"JSON" help:"A JSON object that is part of the verdict. Every caller sees it."`
}

// fields are the given ones. A field that is given empty is emptied.
func (r *restrictions) fields(p process) (adminclient.Fields, error) {
	fields := adminclient.Fields{}
	var expiry, metadata error
	if p.given["name"] {
		fields["name"] = r.Name
	}
	if p.given["scopes"] {
		fields["scopes"] = texts(r.Scopes)
	}
	if p.given["allowed-ips"] {
		fields["allowed_ips"] = texts(r.AllowedIPs)
	}
	if p.given["expires"] {
		fields["expires_at"], expiry = readExpiry(r.Expires, time.Now())
	}
	if p.given["metadata"] {
		fields["metadata"], metadata = readMetadata(r.Metadata)
	}
	return fields, errors.Join(expiry, metadata)
}

// texts is never nil, and omits empty strings: --scopes= is an empty list.
func texts(list []string) []string {
	all := []string{}
	for _, text := range list {
		if text = strings.TrimSpace(text); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// quietly prints only word, if quiet. It reports whether it did.
func (s *session) quietly(quiet bool, word string) bool {
	if quiet && !s.json {
		s.out.line("%s", plain(word))
	}
	return quiet && !s.json
}

type keysGetCommand struct {
	adminFlags
	ownerFlag
	keyArgument
}

func (c *keysGetCommand) run(ctx context.Context, p process, wrong error) int {
	return c.adminFlags.run(ctx, p, errors.Join(wrong, c.check()), func(ctx context.Context, s *session) error {
		found, err := s.Get(ctx, c.ID, c.UserID)
		if err != nil {
			return err
		}
		if s.json {
			s.out.object(found.Raw)
			return nil
		}
		s.out.record(append(keyFields(&found.Key), [2]string{"etag", found.ETag})...)
		return nil
	})
}
