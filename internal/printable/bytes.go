package printable

import (
	"math/big"

	"github.com/dustin/go-humanize"
)

// Bytes writes a number of bytes.
func Bytes(n int64) string { return humanize.BigIBytes(big.NewInt(n)) }
