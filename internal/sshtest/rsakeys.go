package sshtest

import (
	"crypto/rsa"
	"fmt"
	"math/big"
)

// rsakeys.go has RSA keys, one of each size: to find the primes of another takes
// seconds, and a minute under the race detector of a machine that does much at once.

// rsaPrimes are those of the keys, by their bits and to the base 36. Everybody knows
// these keys: they are for tests.
var rsaPrimes = map[int][2]string{
	1024: {
		"zzxzwrct4r2of7076esbgv5nkk5idqvzj4y9tcqr7vkv5f2zuxdfdbzno2of0srwm892qrv2a470etipeovze1eolu2ves6lpb1",
		"yk1r1kxuf85wyigrl90aexe0ftg4r2gvwbblc2uuyixfigpayeq3yzu59ta3lxlvdm0340t64gee1vd08d2hcjo73edbwxm30j7",
	},
	2048: {
		"10tdxh0wk7gnbang4crc7oo045b4qadjto1us1pgkrwduy1l6s68excloe3aws7qhjabs8gjjvt1qsxd0xgdzwuik3c4uafnshoozwswxw57ci" +
			"deb7ybc2xhuemidjxjlh1whyr25s8fob34wpx60vmfssumf48h5v49k502jf67b5dgcyqlsmkwsxxeqfihbi0i365",
		"1740uczjmjixq4iczxjsoo28k51knwme9xr5efnuw2rpftr3l2nkqfo9cjq33hue6934001ex9lyn8rde6hgjijoqfyx57jxdnl3whu5u1y3y8" +
			"iwwa699twie8cv0e7h7853gnwcpgik41tm1blt4f2ax57wlkn9d6ttlzm874vob3g7ljivo0fh0574ykf8qqtzyqh",
	},
	3072: {
		"1fy9nom8qwn8zxqupwl4py5f1w510zurxk63x1t922865qqh3htu3lbudxj3x4wu3h0f3jw3yrtxfyj9mgzm76cnpokwgab7bpmdmotoupgcj9" +
			"glllheiam6ua5z4nwshxx9dsxvbfnn91gj468hggjkwaswvpai8fvxbh6uywuafopfqibwok9do66rkohdd0g42ivriz3zltqfn1cp9de7eukk" +
			"vksktfnhqunxw5lnbyhj2yf12i45z57zsxyjs2oj7r4r4u2yhscnomy632juny8lsxc7pue7ff509j",
		"1c4ju5o4jzdhw5zd5ro08og6o46g1diqgubmcztf73tj9q5epk3uj1m1whaotmszaw46sxkqu4iaoo07e09gq3317wm7xxovucnrtoh18ojfo1" +
			"pgsn5p4xaosrdinmu3ysabux6bj7uu8854uzp0i4dt86uog8ywanfn6zxzeai7feli1zqgnx98br3dg4ifn5x1w8j779g01m8h0pclsggoyrgf" +
			"li2h9thqxl4xeha7ql4c6e1unzdw2fa7s0ectddfwdqe4sup8wen876hvgl213go4rvxmtg4erphpv",
	},
}

// rsaKey returns the RSA key of so many bits: 1024, 2048 or 3072.
func rsaKey(bits int) *rsa.PrivateKey {
	primes, ok := rsaPrimes[bits]
	if !ok {
		panic(fmt.Sprintf("there is no RSA key of %d bits", bits))
	}
	p, _ := new(big.Int).SetString(primes[0], 36)
	q, _ := new(big.Int).SetString(primes[1], 36)
	one := big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{Primes: []*big.Int{p, q}}
	key.N, key.E = new(big.Int).Mul(p, q), 65537
	key.D = new(big.Int).ModInverse(big.NewInt(int64(key.E)), order)
	key.Precompute()
	return key
}
