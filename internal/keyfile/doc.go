// Package keyfile reads the files of private keys as ssh-keygen and OpenSSL write
// them, decrypts each no more often than needed, and says of a file that is of no
// use what it is and which command makes it one.
//
// No error shows any of a file's text but the names of types and ciphers.
package keyfile
