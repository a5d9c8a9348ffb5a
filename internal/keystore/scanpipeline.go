package keystore

import (
	"context"
	"runtime"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// A scan is a pipeline: one goroutine reads from the cursor, some decode, and the
// caller's goroutine takes the decoded documents in, in the order of the cursor.
// So the server makes the next batch while the last one is decoded. The unit is a
// chunk of documents. There is a fixed number of chunks, which are used again, so
// a slow caller makes the cursor wait.
const (
	// chunkDocuments and chunkBytes limit a chunk: enough that handing it over
	// costs nothing, few enough that all stages soon have work.
	chunkDocuments = 512
	chunkBytes     = 256 << 10
	// chunks are 16 MiB of documents: as much as a batch of the server, and as the
	// largest document.
	chunks = 64
	// maxDecoders is enough to be faster than the other stages.
	maxDecoders = 2
)

// chunk is some documents of a scan.
type chunk struct {
	// raw is the documents, one after another: copies, because the memory of a
	// cursor's document belongs to the driver. ends are the offsets of their ends.
	raw  []byte
	ends []int
	// documents are valid when decoded has delivered.
	documents []Document
	decoded   chan struct{}
	// held are other chunks, which are not used while this one contains a document
	// that is as large as they are.
	held []*chunk
}

type scanPipeline struct {
	schema Schema
	// free are the chunks that are not in use. pending and ordered are the same
	// chunks, for the decoders and for the caller.
	free, pending, ordered chan *chunk
	// err is why the cursor failed. It is set before ordered is closed.
	err error
}

// readAll calls see for all documents. Either the cursor failed (readErr), or see
// returned an error.
func (s *Store) readAll(ctx context.Context, cursor *mongo.Cursor, see func(*Document) error) (readErr, seeErr error) {
	p := &scanPipeline{
		schema: s.schema,
		free:   make(chan *chunk, chunks), pending: make(chan *chunk, chunks), ordered: make(chan *chunk, chunks),
	}
	for range chunks {
		p.free <- &chunk{decoded: make(chan struct{}, 1)}
	}
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() { p.read(ctx, cursor) })
	for range min(maxDecoders, runtime.GOMAXPROCS(0)) {
		group.Go(p.decode)
	}
	for c := range p.ordered {
		<-c.decoded
		for i := range c.documents {
			if err := see(&c.documents[i]); err != nil {
				return nil, err
			}
		}
		p.release(c)
	}
	return p.err, nil
}

// read is the first stage. It ends with the cursor, or with ctx.
func (p *scanPipeline) read(ctx context.Context, cursor *mongo.Cursor) {
	defer close(p.pending)
	defer close(p.ordered)
	for more := true; more; {
		c := p.take(ctx)
		if c == nil {
			return
		}
		more, p.err = c.fill(ctx, cursor)
		for range min(len(c.raw)/chunkBytes-1, chunks-1) {
			other := p.take(ctx)
			if other == nil {
				return
			}
			c.held = append(c.held, other)
		}
		if len(c.ends) > 0 {
			p.pending <- c
			p.ordered <- c
		}
	}
}

// take returns a free chunk. Nil: ctx has ended, and p.err is set.
func (p *scanPipeline) take(ctx context.Context) *chunk {
	select {
	case c := <-p.free:
		return c
	case <-ctx.Done():
		p.err = ctx.Err()
		return nil
	}
}

// release makes a chunk free, and those that it held.
func (p *scanPipeline) release(c *chunk) {
	for _, other := range c.held {
		p.free <- other
	}
	c.held = c.held[:0]
	if cap(c.raw) > 2*chunkBytes {
		c.raw = nil // one large document must not stay
	}
	clear(c.documents)
	p.free <- c
}

// fill reads documents until the chunk is full or the batch of the server ends.
// False: the cursor has no more documents, or has failed.
func (c *chunk) fill(ctx context.Context, cursor *mongo.Cursor) (more bool, err error) {
	c.raw, c.ends = c.raw[:0], c.ends[:0]
	for {
		if more, err = nextDocument(ctx, cursor); !more {
			return false, err
		}
		c.raw = append(c.raw, cursor.Current...)
		c.ends = append(c.ends, len(c.raw))
		if len(c.ends) >= chunkDocuments || len(c.raw) >= chunkBytes || cursor.RemainingBatchLength() == 0 {
			return true, nil
		}
	}
}

// decode is the second stage.
func (p *scanPipeline) decode() {
	d := decoder{schema: p.schema, memory: scanMemory()}
	for c := range p.pending {
		c.decode(&d)
		c.decoded <- struct{}{}
	}
}

func (c *chunk) decode(d *decoder) {
	c.documents = c.documents[:0]
	begin := 0
	for _, end := range c.ends {
		d.decode(bson.Raw(c.raw[begin:end]))
		c.documents = append(c.documents, d.doc)
		begin = end
	}
}
