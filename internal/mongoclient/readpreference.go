package mongoclient

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// ReadPreference is which member serves what no request waits for: the change stream, scans
// and audits. The mode is one of MongoDB's, and empty the primary; tags and maximum staleness are those of the
// connection string, which the driver accepts only together with a readPreference there (its
// mode is not used). The error is a sentence.
func (s *Settings) ReadPreference(mode string) (*readpref.ReadPref, error) {
	parsed, err := readpref.ModeFromString(cmp.Or(mode, "primary"))
	if err != nil {
		return nil, fmt.Errorf("--read-preference is %q: it must be a mode of MongoDB, such as secondaryPreferred", mode)
	}
	var narrowed []readpref.Option
	if given := s.given; given != nil && parsed != readpref.PrimaryMode {
		if sets := given.TagSets(); len(sets) > 0 {
			narrowed = append(narrowed, readpref.WithTagSets(sets...))
		}
		if age, ok := given.MaxStaleness(); ok {
			narrowed = append(narrowed, readpref.WithMaxStaleness(age))
		}
	}
	preference, err := readpref.New(parsed, narrowed...)
	if err != nil {
		return nil, fmt.Errorf("--read-preference %s cannot be used with the options of --mongodb-uri: %w", mode, err)
	}
	if s.Options != nil && s.Options.Direct != nil && *s.Options.Direct && parsed == readpref.SecondaryMode {
		return nil, errors.New("--read-preference secondary cannot be used with directConnection=true in --mongodb-uri, which connects to the primary alone: list the members and set replicaSet, or use secondaryPreferred")
	}
	return preference, nil
}

// NotesWith are the Notes with this mode, for what becomes of the options about members: they need a
// readPreference in the connection string, whose mode is not used, and the flag.
func (s *Settings) NotesWith(mode string) []string {
	narrows := s.given != nil && s.narrows()
	switch {
	case s.given == nil:
	case cmp.Or(mode, "primary") == "primary":
		if narrows {
			return append(slices.Clone(s.Notes), "the options readPreferenceTags and maxStalenessSeconds of --mongodb-uri are not used: set --read-preference to a mode other than primary, or remove them")
		}
	case narrows || strings.EqualFold(s.given.Mode().String(), mode):
		return slices.DeleteFunc(slices.Clone(s.Notes), func(note string) bool {
			return strings.HasPrefix(note, "the option readPreference of ")
		})
	}
	return s.Notes
}

// narrows reports whether the connection string says which members may be chosen.
func (s *Settings) narrows() bool {
	_, hasAge := s.given.MaxStaleness()
	return hasAge || len(s.given.TagSets()) > 0
}

// IsPrimary reports whether a read preference allows the primary alone. Nil does.
func IsPrimary(preference *readpref.ReadPref) bool {
	return preference == nil || preference.Mode() == readpref.PrimaryMode
}

// AllowsPrimary reports whether a read preference allows the primary. Nil does.
func AllowsPrimary(preference *readpref.ReadPref) bool {
	return preference == nil || preference.Mode() != readpref.SecondaryMode
}

// OnMembers returns the handle of a database of Database that reads from the members that
// preference allows. Its read concern stays majority: what it returns is
// committed on whichever member, and as old as that member.
func OnMembers(database *mongo.Database, preference *readpref.ReadPref) *mongo.Database {
	if IsPrimary(preference) {
		return Database(database.Client(), database.Name())
	}
	return database.Client().Database(database.Name(), ownConcerns().SetReadPreference(preference))
}
