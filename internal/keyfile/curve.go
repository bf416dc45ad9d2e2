package keyfile

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
)

// curve.go reads keys that spell their curve out (openssl ecparam -param_enc
// explicit) rather than name it, which crypto/x509 does not.

var (
	oidEC = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}

	// namedCurves are those that SSH has (RFC 5656 section 10.1).
	namedCurves = []struct {
		oid   asn1.ObjectIdentifier
		curve elliptic.Curve
	}{
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, elliptic.P256()},
		{asn1.ObjectIdentifier{1, 3, 132, 0, 34}, elliptic.P384()},
		{asn1.ObjectIdentifier{1, 3, 132, 0, 35}, elliptic.P521()},
	}
)

// ecPrivateKey is RFC 5915 section 3.
type ecPrivateKey struct {
	Version    int
	PrivateKey []byte
	Curve      asn1.RawValue  `asn1:"optional,explicit,tag:0"`
	Public     asn1.BitString `asn1:"optional,explicit,tag:1"`
}

// pkcs8Key is RFC 5208 section 5, without the attributes.
type pkcs8Key struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	PrivateKey []byte
}

// explicitCurve is SpecifiedECDomain of SEC 1, appendix C.2.
type explicitCurve struct {
	Version int
	Field   struct {
		Type  asn1.ObjectIdentifier
		Prime *big.Int
	}
	Curve struct {
		A, B []byte
		Seed asn1.BitString `asn1:"optional"`
	}
	Base     []byte
	Order    *big.Int
	Cofactor *big.Int `asn1:"optional"`
}

// nameCurve replaces a curve that is spelt out by its name. It returns any other
// key as it is.
func nameCurve(blockType string, der []byte) []byte {
	switch blockType {
	case typeEC:
		return nameCurveEC(der)
	case typePKCS8, typeEncrypted:
		var key pkcs8Key
		if _, err := asn1.Unmarshal(der, &key); err != nil || !key.Algorithm.Algorithm.Equal(oidEC) {
			return der
		}
		name := curveName(key.Algorithm.Parameters.FullBytes)
		if name == nil {
			return der
		}
		key.Algorithm.Parameters = asn1.RawValue{FullBytes: name}
		key.PrivateKey = nameCurveEC(key.PrivateKey)
		if named, err := asn1.Marshal(key); err == nil {
			return named
		}
	}
	return der
}

func nameCurveEC(der []byte) []byte {
	var key ecPrivateKey
	if _, err := asn1.Unmarshal(der, &key); err != nil {
		return der
	}
	name := curveName(key.Curve.Bytes)
	if name == nil {
		return der
	}
	// Its public point is left out: crypto/x509 computes that.
	named, err := asn1.Marshal(struct {
		Version    int
		PrivateKey []byte
		Curve      asn1.RawValue
	}{key.Version, key.PrivateKey, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: name}})
	if err != nil {
		return der
	}
	return named
}

// curveName returns the name, in DER, of the curve that parameters in DER spell
// out, or nil. A curve with another generator is another curve.
func curveName(parameters []byte) []byte {
	var c explicitCurve
	if _, err := asn1.Unmarshal(parameters, &c); err != nil || c.Field.Prime == nil || c.Order == nil || len(c.Base) == 0 {
		return nil
	}
	for _, n := range namedCurves {
		p := n.curve.Params()
		a := new(big.Int).Sub(p.P, big.NewInt(3))
		size := (p.BitSize + 7) / 8
		if c.Field.Prime.Cmp(p.P) != 0 || c.Order.Cmp(p.N) != 0 ||
			new(big.Int).SetBytes(c.Curve.A).Cmp(a) != 0 || new(big.Int).SetBytes(c.Curve.B).Cmp(p.B) != 0 ||
			!sameBase(c.Base, p.Gx.FillBytes(make([]byte, size)), p.Gy.FillBytes(make([]byte, size))) {
			continue
		}
		name, err := asn1.Marshal(n.oid)
		if err != nil {
			return nil
		}
		return name
	}
	return nil
}

// sameBase reports whether a point, in any form of SEC 1 section 2.3.3, is (x, y).
func sameBase(point, x, y []byte) bool {
	odd := y[len(y)-1] & 1
	compressed := append([]byte{2 + odd}, x...)
	full := append(append([]byte{4}, x...), y...)
	hybrid := append([]byte{6 + odd}, full[1:]...)
	return bytes.Equal(point, compressed) || bytes.Equal(point, full) || bytes.Equal(point, hybrid)
}
