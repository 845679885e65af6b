/* SPDX-License-Identifier: MIT */
/* Stored values, written by vectors.py, which shares no code with what is tested. */
#ifndef TK_TESTS_VECTORS_H
#define TK_TESTS_VECTORS_H

#include <stdbool.h>

#define VECTOR_KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define VECTOR_KEY_B "fff8f1eae3dcd5cec7c0b9b2aba49d968f88817a736c655e575049423b342d26"

struct vector {
    const char *what;
    const char *redis_key;
    const char *sealed; /* hex */
    const char *plain;  /* hex */
    const char *json;
    bool shortest; /* just as the encoder would have it */
};

static const struct vector vectors[] = {
    {"the least there can be", "token:abcdefghijklmnopqrstuv",
     "01c7f481f2c1660d1b404142434445464748494a4b4c4d4e4f5051525354555657519c711fbb8517843995e5ddcbf903"
     "f5fad3c7af7f343df51a408f367d71552657bb412a10d4c358b6f8bf00479495a1ab5a45d142da1ce9c5997a9a72df29"
     "f53b818c1d7fd62b97f17ac09a7b0af99c85ae69458e4e071820c67404620641404701d2adb85a7e9f0504738e9f737a"
     "ebcafcca0a09",
     "85a5746f6b656e92b66162636465666768696a6b6c6d6e6f70717273747576b64142434445464748494a4b4c4d4e4f50"
     "303138392d5fa8757365726e616d65a161aa746f6b656e5f74797065a773657373696f6ea673636f70657390a7637265"
     "6174656400",
     "{\"token\":\"gt-abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOP0189-_\",\"username\":\"a\",\"token_type\":\"session"
     "\",\"scopes\":[],\"created\":0}",
     true},
    {"every field", "prod/tokens:0123456789_-zyxwvutsrq",
     "01be80cb51a0ff2ced808182838485868788898a8b8c8d8e8f90919293949596978b105085e75482d3ae1f1d037e59be"
     "cfa003ea7fe1c1be20ef8c34b0bfb5d630e36eb138ebf28b97b6b833098ef44db456d8dce6bdc519ef445d5d2531bbec"
     "384878859afe572faac71a925650e1bedacdf37e708c66f78be9179b52153d81c08799b87e6179ec679db5624e58c86c"
     "40a4506f58319449344937f9050ec7de66e3a222b0796a33e277890d00ff61db4941b01a130d61ef3bc9df20be66becc"
     "d5424fb08df5587a4772841d52d25b7c1e4195b4241ed235a9ab5a77f36367598033f83e65e77aae24f505dcf695c689"
     "399db508e7c7146d44f6b59ecebff2f0fcf28b26716816ad273ff80ec43ad5564ac236cb0c7d20d9d95ec0057a879949"
     "74c4910ca986c8223a4783b8198df6ca31e600e292cadac7e61d5ab7b05e464d8e0aa6a15ec273c1930d9f918024ccf2"
     "e54b36253c9c4ecf294c68bf70f97f1a",
     "8ca5746f6b656e92b6303132333435363738395f2d7a797877767574737271b66162636465666768696a6b6c6d6e6f70"
     "717273747576a8757365726e616d65ab736f6d652d757365722d31aa746f6b656e5f74797065a46f696463a673636f70"
     "657394ab61646d696e3a746f6b656ead657865633a6e6f7465626f6f6ba8726561643a616c6caa757365723a746f6b65"
     "6ea763726561746564ce6553f100a765787069726573cf0000003afff4417fa773657276696365a6706f7274616ca46e"
     "616d65a9536f6d652055736572a5656d61696cb0736f6d65406578616d706c652e6f7267a3756964cf7fffffffffffff"
     "ffa3676964cf0000000100000000a667726f7570739282a46e616d65ab736f6d652d757365722d31a26964cd03e882a4"
     "6e616d65a6375f75702e78a2696401",
     "{\"token\":\"gt-0123456789_-zyxwvutsrq.abcdefghijklmnopqrstuv\",\"username\":\"some-user-1\",\"token_type"
     "\":\"oidc\",\"scopes\":[\"admin:token\",\"exec:notebook\",\"read:all\",\"user:token\"],\"created\":1700000000,"
     "\"expires\":253402300799,\"service\":\"portal\",\"name\":\"Some User\",\"email\":\"some@example.org\",\"uid\":"
     "9223372036854775807,\"gid\":4294967296,\"groups\":[{\"name\":\"some-user-1\",\"id\":1000},{\"name\":\"7_up.x\""
     ",\"id\":1}]}",
     true},
    {"text beyond ASCII, and an empty list of groups", "token:0123456789_-zyxwvutsrq",
     "01c7f481f2c1660d1b0000000000000000000000000000000000000000000000001da3f8a887ed8b8ba0be4e0bdf220b"
     "dc0b8494cc57ea3473bc9be029a4946b8727c823fc7c041db896b5e4981e43dd837972ec8082ff507f8346193d4a79e6"
     "fb112b1365e8ee67d913ab97f2e98e6fda38526ee148195b96bebae760d167320acd27328d88a031cf7cdc886bd55863"
     "c31497b7f5b8f372ae790a7fee6792a0ac95884d5f72bee307e993ee7b6c1f706a72117509d37e4a01ab1f5e80aa9ab7"
     "d8d98d5412c2ed206ec7c46ef63cefe1be2fbefaafd339dadef5614256a4f0b632e13e4526002e5aa321d7fc0fb4d6ea",
     "88a5746f6b656e92b6303132333435363738395f2d7a797877767574737271b64142434445464748494a4b4c4d4e4f50"
     "303138392d5fa8757365726e616d65a27831aa746f6b656e5f74797065a475736572a673636f70657391a17aa7637265"
     "6174656401a46e616d65bc5a6fc3ab20e2988320f09f98802022715c22200a207f20c28520c2a0a5656d61696cd92865"
     "656565656565656565656565656565656565656565656565656565656565656565656565656565a667726f75707390",
     "{\"token\":\"gt-0123456789_-zyxwvutsrq.ABCDEFGHIJKLMNOP0189-_\",\"username\":\"x1\",\"token_type\":\"user\","
     "\"scopes\":[\"z\"],\"created\":1,\"name\":\"Zo\303\253 \342\230\203 \360\237\230\200 \\\"q\\\\\\\" \\u000a \\u"
     "007f \\u0085 \302\240\",\"email\":\"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\",\"groups\":[]}",
     true},
    {"another encoder's choices: wide integers, long headers, nulls, another order", "token:abcdefghijklmnopqrstuv",
     "01c7f481f2c1660d1bfffffffffffffffffffffffffffffffffffffffffffffffffea6a3ea62df2b348d5329ac4f0f71"
     "09e158773a3059236ea55cf5440e986830daf09de4d32cb74a5ef32e815bdbb8279a541c9d0f51eea578fb31345ad336"
     "52b5e8a91e7b8851e50910552958218d7a80d5561d8fdf13c757c0b5e7b74b1c27994f49ef7f8abd23abc408f206abb3"
     "e944494d91cbabd0b78310b96ffe5a0bdff05bdfc5ff1f390b7d29db15fbf42543301d014ba18dfdb05e01cd2ddde0b0"
     "29f469a24cac43fae5c7fc47f410a01a61a7da",
     "df00000008a673636f706573dd00000003a162d90161db0000000162a5746f6b656edc0002da00166162636465666768"
     "696a6b6c6d6e6f70717273747576b64142434445464748494a4b4c4d4e4f50303138392d5fd908757365726e616d65a1"
     "75a46e616d65c0a763726561746564d30000000000000005a765787069726573cf0000000000000006a3756964d007aa"
     "746f6b656e5f74797065a773657276696365",
     "{\"token\":\"gt-abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOP0189-_\",\"username\":\"u\",\"token_type\":\"service"
     "\",\"scopes\":[\"a\",\"b\"],\"created\":5,\"expires\":6,\"uid\":7}",
     false},
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

#endif
