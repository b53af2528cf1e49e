/* NBD on the wire, as far as the benchmark speaks it: fixed newstyle, big-endian. Protocol:
 * doc/proto.md of NetworkBlockDevice/nbd. */
#include <endian.h>
#include <stdint.h>

#define NBD_MAGIC 0x4e42444d41474943ull
#define OPTION_MAGIC 0x49484156454f5054ull
#define OPTION_REPLY_MAGIC 0x3e889045565a9ull
#define REQUEST_MAGIC 0x25609513u
#define SIMPLE_MAGIC 0x67446698u
#define STRUCTURED_MAGIC 0x668e33efu

enum { READ, WRITE, DISC };
enum { OPT_EXPORT = 1, OPT_ABORT = 2, OPT_INFO = 6, OPT_GO = 7, OPT_STRUCTURED = 8 };
enum { REP_ACK = 1, REP_INFO = 3, INFO_EXPORT = 0 };
#define REP_ERROR 0x80000000u
#define REP_ERR_UNSUP (REP_ERROR | 1)
enum { HAS_FLAGS = 1, READ_ONLY = 2, SEND_FLUSH = 4, CAN_MULTI_CONN = 256 };

struct __attribute__((packed)) hello { uint64_t magic, ihaveopt; uint16_t flags; };
struct __attribute__((packed)) asked { uint64_t magic; uint32_t option, length; };
struct __attribute__((packed)) answered { uint64_t magic; uint32_t option, type, length; };
struct __attribute__((packed)) info { uint16_t type; uint64_t size; uint16_t flags; };
struct __attribute__((packed)) request {
    uint32_t magic; uint16_t flags, command; uint64_t cookie, offset; uint32_t length;
};
struct __attribute__((packed)) simple { uint32_t magic, error; uint64_t cookie; };
struct __attribute__((packed)) chunk {
    uint32_t magic; uint16_t flags, type; uint64_t cookie; uint32_t length; uint64_t offset;
};
