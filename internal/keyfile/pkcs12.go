package keyfile

import (
	"bytes"
	"crypto/cipher"
	"crypto/des"  //nolint:gosec // for files that were encrypted with it
	"crypto/sha1" //nolint:gosec // for files that were encrypted with it
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"unicode/utf16"
)

// pkcs12.go decrypts the older form of PKCS#8: with 3DES, and a key that PKCS#12 (RFC
// 7292, appendix B) derives, as openssl pkcs8 -v1 PBE-SHA1-3DES, keytool and Windows
// write it.

// pkcs12KeySizes are how many bytes of key the ciphers take, by the name in the file.
var pkcs12KeySizes = map[string]int{
	"1.2.840.113549.1.12.1.3": 24, // three keys
	"1.2.840.113549.1.12.1.4": 16, // two
}

// What pkcs12Key derives.
const (
	pkcs12ForKey = 1
	pkcs12ForIV  = 2
)

// pkcs12Cipher returns the cipher of a passphrase, and where it starts.
func pkcs12Cipher(algorithm pkix.AlgorithmIdentifier, passphrase []byte) (block cipher.Block, iv []byte, err error) {
	size, ok := pkcs12KeySizes[algorithm.Algorithm.String()]
	if !ok {
		return nil, nil, errLegacy
	}
	var p struct {
		Salt       []byte
		Iterations int
	}
	if _, err := asn1.Unmarshal(algorithm.Parameters.FullBytes, &p); err != nil || p.Iterations < 1 || len(p.Salt) == 0 {
		return nil, nil, errDamaged
	}
	if p.Iterations > maxIterations {
		return nil, nil, errEncryption
	}
	key := pkcs12Key(pkcs12ForKey, passphrase, p.Salt, p.Iterations, size)
	if size == 16 {
		key = append(key, key[:8]...)
	}
	block, err = des.NewTripleDESCipher(key) //nolint:gosec // as above
	return block, pkcs12Key(pkcs12ForIV, passphrase, p.Salt, p.Iterations, des.BlockSize), err
}

// pkcs12Key makes size bytes of a passphrase (RFC 7292, appendix B.2).
func pkcs12Key(purpose byte, passphrase, salt []byte, iterations, size int) []byte {
	var text []byte
	for _, unit := range append(utf16.Encode([]rune(string(passphrase))), 0) {
		text = binary.BigEndian.AppendUint16(text, unit)
	}
	const v = sha1.BlockSize
	in := append(fill(salt, v), fill(text, v)...)
	var key []byte
	for {
		hash := sha1.Sum(append(bytes.Repeat([]byte{purpose}, v), in...)) //nolint:gosec // as above
		for range iterations - 1 {
			hash = sha1.Sum(hash[:]) //nolint:gosec // as above
		}
		if key = append(key, hash[:]...); len(key) >= size {
			return key[:size]
		}
		// Each block of the input is increased by the hash, and by one.
		more := new(big.Int).SetBytes(fill(hash[:], v)[:v])
		more.Add(more, big.NewInt(1))
		for i := 0; i < len(in); i += v {
			sum := new(big.Int).SetBytes(in[i : i+v])
			sum.Add(sum, more)
			whole := sum.FillBytes(make([]byte, v+1))
			copy(in[i:], whole[1:])
		}
	}
}

// fill repeats a text until it is a whole number of blocks long.
func fill(text []byte, block int) []byte {
	size := (len(text) + block - 1) / block * block
	return bytes.Repeat(text, size/len(text)+1)[:size]
}
