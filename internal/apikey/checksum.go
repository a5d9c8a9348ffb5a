package apikey

import "hash/crc32"

// CRC-32 is linear: the sum of a text of a known length is the exclusive or of what each of its
// bytes adds. Package crc32 waits for each byte, or for each eight, before it begins with the next.
// These tables have no such order, and a processor looks up several digits at a time.
var (
	// digitSums[i][d] is what a digit of the value d adds as the i-th of the secret's digits.
	digitSums = func() (sums [secretDigits][base62Space]uint32) {
		for digit, value := range base62Digits {
			for i := 0; i < secretDigits && value != notDigit; i++ {
				sums[i][value] = addedTo(byte(digit), secretDigits-1-i)
			}
		}
		return sums
	}()
	// headSums[i][b] is what the i-th byte of the sum of all before the digits adds: it has the
	// value b.
	headSums = func() (sums [crc32.Size][1 << 8]uint32) {
		for i := range sums {
			for b := range sums[i] {
				sums[i][b] = addedTo(byte(b), secretDigits-1-i)
			}
		}
		return sums
	}()
)

// base62Space is a power of two, so that the mask of an index is enough to stay inside.
const base62Space = 64

// addedTo is what a byte with so many bytes behind it adds to a sum.
func addedTo(b byte, behind int) uint32 {
	sum := crc32.IEEETable[b]
	for range behind {
		sum = nextSum(sum, 0)
	}
	return sum
}

// nextSum is the sum after one more byte, without the inversions at the beginning and at the end.
func nextSum(sum uint32, b byte) uint32 { return crc32.IEEETable[byte(sum)^b] ^ sum>>8 }

// isChecksumValid reports whether the checksum matches, for a text of Generate's length whose digits
// begin at start.
func isChecksumValid(text string, start int) bool {
	head := ^uint32(0)
	for i := range start {
		head = nextSum(head, text[i])
	}
	sum := headSums[0][byte(head)] ^ headSums[1][byte(head>>8)] ^ headSums[2][byte(head>>16)] ^ headSums[3][byte(head>>24)]
	var all int8 // negative if one of the bytes is no digit
	digits := text[start:]
	for i := range secretDigits {
		digit := base62Digits[digits[i]]
		all |= digit
		sum ^= digitSums[i][digit&(base62Space-1)]
	}
	var value uint64
	for i := secretDigits; i < secretDigits+checksumDigits; i++ {
		digit := base62Digits[digits[i]]
		all |= digit
		value = value*62 + uint64(digit)
	}
	return all >= 0 && value == uint64(^sum)
}

// checksum is the CRC-32 of text with the IEEE polynomial.
func checksum(text string) uint32 { return crc32.ChecksumIEEE(view(text)) }
