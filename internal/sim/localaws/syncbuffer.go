package localaws

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// SyncBuffer is a buffer that is safe for concurrent use. Its zero value is empty.
type SyncBuffer struct {
	To io.Writer // receives a copy of everything; nil: no copy

	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *SyncBuffer) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.To == nil {
		return len(p), nil
	}
	return o.To.Write(p)
}

// String returns everything so far.
func (o *SyncBuffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Lines returns everything so far, line by line.
func (o *SyncBuffer) Lines() []string {
	return strings.Split(strings.TrimSuffix(o.String(), "\n"), "\n")
}
