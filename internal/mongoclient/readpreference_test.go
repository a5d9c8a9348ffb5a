package mongoclient

import (
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// TestReadPreference: the flag is the mode, and the connection string narrows the members.
func TestReadPreference(t *testing.T) {
	t.Parallel()
	const narrowed = "mongodb://db1,db2/keys?replicaSet=rs0&readPreference=nearest&readPreferenceTags=dc:east&maxStalenessSeconds=120"
	for _, mode := range []string{"primary", "primaryPreferred", "secondaryPreferred", "secondary", "nearest"} {
		plain, err := settings(t, "mongodb://db1,db2/keys?replicaSet=rs0").ReadPreference(mode)
		if err != nil || !strings.EqualFold(plain.Mode().String(), mode) || len(plain.TagSets()) > 0 {
			t.Errorf("%s: %v, %v", mode, plain, err)
		}
		got, err := settings(t, narrowed).ReadPreference(mode)
		if err != nil || !strings.EqualFold(got.Mode().String(), mode) {
			t.Fatalf("%s: %v, %v", mode, got, err)
		}
		age, _ := got.MaxStaleness()
		if isPrimary := mode == "primary"; isPrimary != (len(got.TagSets()) == 0) || isPrimary != (age != 2*time.Minute) {
			t.Errorf("%s: tags %v, maximum staleness %v", mode, got.TagSets(), age)
		}
		if IsPrimary(got) != (mode == "primary") || AllowsPrimary(got) != (mode != "secondary") {
			t.Errorf("%s: primary alone %v, primary allowed %v", mode, IsPrimary(got), AllowsPrimary(got))
		}
	}
	if !IsPrimary(nil) || !AllowsPrimary(nil) {
		t.Error("no preference is not the primary's")
	}
}

func TestAWrongReadPreference(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ uri, mode, words string }{
		{"mongodb://db1/keys", "fastest", "such as secondaryPreferred"},
		{"mongodb://db1/keys?directConnection=true", "secondary", "use secondaryPreferred"},
	} {
		if _, err := settings(t, c.uri).ReadPreference(c.mode); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s with %s: %v, want %q", c.mode, c.uri, err, c.words)
		}
	}
	if got, err := settings(t, "mongodb://db1/keys?directConnection=true").ReadPreference("nearest"); err != nil || got.Mode() != readpref.NearestMode {
		t.Errorf("nearest with a direct connection: %v, %v", got, err)
	}
}

// TestNotesOfAReadPreference: what the documentation asks for is not noted, and what is not used is.
func TestNotesOfAReadPreference(t *testing.T) {
	t.Parallel()
	const plain, narrowed = "mongodb://localhost/keys?replicaSet=rs0&readPreference=nearest", "mongodb://localhost/keys?replicaSet=rs0&readPreference=nearest&readPreferenceTags=dc:east"
	for _, c := range []struct {
		uri, mode string
		want      []string
	}{
		{"mongodb://localhost/keys?replicaSet=rs0", "nearest", nil},
		{plain, "primary", []string{"option readPreference"}},
		{plain, "secondary", []string{"option readPreference"}},
		{plain, "nearest", nil},
		{narrowed, "primary", []string{"option readPreference", "options readPreferenceTags"}},
		{narrowed, "", []string{"option readPreference", "options readPreferenceTags"}},
		{narrowed, "secondaryPreferred", nil},
	} {
		got := settings(t, c.uri).NotesWith(c.mode)
		if len(got) != len(c.want) {
			t.Errorf("%s with %q: %q", c.uri, c.mode, got)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s with %q: %q", c.uri, c.mode, got)
			}
		}
	}
}
