package keyfile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // for files that were encrypted with it
	"crypto/md5" //nolint:gosec // for files that were encrypted with it
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // the default of RFC 8018
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"

	"golang.org/x/crypto/scrypt"
)

// pkcs8.go decrypts PKCS#8 (RFC 8018, PBES2), as openssl and ssh-keygen -m PKCS8
// encrypt it. What is older is in pkcs12.go.

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}

	// pbkdf2Hashes are the pseudo-random functions, by the name in the file. One
	// that is not named is HMAC with SHA-1.
	pbkdf2Hashes = map[string]func() hash.Hash{
		"":                    sha1.New,
		"1.2.840.113549.2.6":  md5.New,
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.8":  sha256.New224,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
		"1.2.840.113549.2.12": sha512.New512_224,
		"1.2.840.113549.2.13": sha512.New512_256,
	}
	pbes2Ciphers = map[string]struct {
		keySize int
		block   func([]byte) (cipher.Block, error)
	}{
		"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
		"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
		"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	}
)

type pbes2Parameters struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Parameters struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	Hash       pkix.AlgorithmIdentifier `asn1:"optional"`
}

type scryptParameters struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// What a file may ask for at most: seconds of work, many times what OpenSSL asks for.
const (
	maxIterations   = 10_000_000
	maxScryptMemory = int64(1 << 30)
	maxScryptWork   = int64(1 << 34)
)

// errEncryption is a way to encrypt a key that is not supported; errLegacy one that
// ssh does not read either.
var (
	errEncryption = errors.New("is encrypted in a way that is not supported")
	errLegacy     = errors.New("is encrypted in an old way that is not supported")
)

// decryptPKCS8 returns the PKCS#8 key that an encrypted one holds.
func decryptPKCS8(der, passphrase []byte) ([]byte, error) {
	var file struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if _, err := asn1.Unmarshal(der, &file); err != nil {
		return nil, errDamaged
	}
	if !file.Algorithm.Algorithm.Equal(oidPBES2) {
		block, iv, err := pkcs12Cipher(file.Algorithm, passphrase)
		if err != nil {
			return nil, err
		}
		return decryptCBC(block, iv, file.Data)
	}
	var scheme pbes2Parameters
	if _, err := asn1.Unmarshal(file.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, errDamaged
	}
	c, ok := pbes2Ciphers[scheme.Cipher.Algorithm.String()]
	if !ok {
		return nil, errEncryption
	}
	key, err := deriveKey(scheme.KDF, passphrase, c.keySize)
	if err != nil {
		return nil, err
	}
	block, err := c.block(key)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, errDamaged
	}
	return decryptCBC(block, iv, file.Data)
}

// decryptCBC decrypts what is padded to whole blocks.
func decryptCBC(block cipher.Block, iv, data []byte) ([]byte, error) {
	if len(iv) != block.BlockSize() || len(data) == 0 || len(data)%block.BlockSize() != 0 {
		return nil, errDamaged
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > block.BlockSize() || pad > len(plain) {
		return nil, x509.IncorrectPasswordError
	}
	return plain[:len(plain)-pad], nil
}

// deriveKey makes the key of a passphrase.
func deriveKey(kdf pkix.AlgorithmIdentifier, passphrase []byte, size int) ([]byte, error) {
	switch {
	case kdf.Algorithm.Equal(oidPBKDF2):
		var p pbkdf2Parameters
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.Iterations < 1 {
			return nil, errDamaged
		}
		h, ok := pbkdf2Hashes[p.Hash.Algorithm.String()]
		if !ok || p.Iterations > maxIterations {
			return nil, errEncryption
		}
		return pbkdf2.Key(h, string(passphrase), p.Salt, p.Iterations, size)
	case kdf.Algorithm.Equal(oidScrypt):
		var p scryptParameters
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.N < 2 || p.R < 1 || p.P < 1 {
			return nil, errDamaged
		}
		n, r := int64(p.N), int64(p.R)
		if n > maxScryptMemory/128/r || int64(p.P) > maxScryptWork/128/r/n {
			return nil, errEncryption
		}
		return scrypt.Key(passphrase, p.Salt, p.N, p.R, p.P, size)
	default:
		return nil, errEncryption
	}
}
