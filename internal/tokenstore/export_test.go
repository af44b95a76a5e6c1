package tokenstore

import "time"

// BypassActive reports whether a store that failed at failedAt is bypassed now.
func BypassActive(failedAt, now time.Time) bool { return (&bypass{failedAt: failedAt}).active(now) }

// Decode and Encode translate items.
var (
	Decode = decode
	Encode = encode
)
