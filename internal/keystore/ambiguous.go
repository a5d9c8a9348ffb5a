package keystore

import (
	"strings"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

// sharesHash is the defect of a document that is not the only one with its hash.
const sharesHash = "shares its hash with another document"

// ambiguous makes one document of several that have the same hash. It is DISABLED,
// whatever they say and whatever a request asks for: which of them is meant is not
// known, and no choice among them is safe for every request (one may be revoked, and
// of two that are active each may allow what the other does not). It has the
// identity and the record of the first that refuses by itself, or of the first.
func (s *Store) ambiguous(documents []Document) Document {
	chosen := documents[0]
	for _, d := range documents {
		if d.Record.Defect != "" || !d.Record.Active {
			chosen = d
			break
		}
	}
	s.reportShared(documents)
	chosen.Ambiguous = true
	chosen.Record.Active = false
	chosen.Record.Defect = strings.TrimPrefix(chosen.Record.Defect+"; "+sharesHash, "; ")
	return chosen
}

// reportShared counts a read that found several documents, and logs those that it
// has not logged yet. Such keys are not kept in memory, so each request for one
// comes here.
func (s *Store) reportShared(documents []Document) {
	if s.shared != nil {
		s.shared.Inc()
	}
	fresh, full := false, false
	names := make([]string, len(documents))
	for i, d := range documents {
		first, last := s.disabled.add(apikey.DocID(sharesHash) + d.ID)
		fresh, full = fresh || first, full || last
		names[i] = d.Record.KeyID
	}
	if full {
		s.tooMany(&s.disabled)
		return
	}
	if fresh {
		s.logger.Error("documents share a hash, so their key is DISABLED: remove all but one of them, and create the unique index again",
			zap.String("collection", s.namespace()),
			zap.Strings("key_ids", names),
			zap.String("index", s.createCommand()))
	}
}
