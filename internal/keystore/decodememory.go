package keystore

import "strings"

// memory holds what decoded documents consist of in few pieces, instead of one
// allocation for each text. Pieces are only ever appended to, so what is in them
// never changes; a text that is kept keeps the whole piece.
//
// The zero value is ready for use, and makes a piece for each text.
type memory struct {
	// size is the size of a piece of texts, in bytes.
	size  int
	texts strings.Builder
	// listSize is the size of a piece of lists of scopes, in scopes.
	listSize int
	lists    []string
	// scratch is for metadata while it is converted.
	scratch []byte
}

// Sizes of pieces in a scan: those of some hundred documents.
const (
	scanTextsSize = 64 << 10
	scanListsSize = 1 << 10
)

// maxTextsSize limits the piece of a single document. Its metadata and whatever
// keytail does not read need no space in it.
const maxTextsSize = 1 << 10

// memoryOf is the memory for a single document: one piece, if it is not large.
func memoryOf(doc []byte) memory { return memory{size: min(len(doc), maxTextsSize)} }

// scanMemory is the memory for many documents.
func scanMemory() memory { return memory{size: scanTextsSize, listSize: scanListsSize} }

// text copies a text into a piece.
func (m *memory) text(text []byte) string {
	if m.texts.Cap()-m.texts.Len() < len(text) {
		m.texts = strings.Builder{}
		m.texts.Grow(max(m.size, len(text)))
	}
	from := m.texts.Len()
	_, _ = m.texts.Write(text)
	return m.texts.String()[from:]
}

// list returns a list of n empty texts, which is not nil.
func (m *memory) list(n int) []string {
	if n > len(m.lists) {
		m.lists = make([]string, max(n, m.listSize))
	}
	list := m.lists[:n:n]
	m.lists = m.lists[n:]
	if list == nil {
		list = []string{}
	}
	return list
}
