; Boot sector: three VBE modes one after another, a pattern in each, a key in between.
;
; The key's scan code seeds the next pattern, so the picture proves that the key arrived. Video memory is
; reached through the 64 KiB window at a000, bank by bank, because real mode reaches no further.
;   nasm -f bin -o vbe_modes.bin vbe_modes.asm     (vbe_modes.hex holds the result for machines without nasm)

        org     0x7c00
        bits    16
        cpu     386

start:  cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        sti
        cld
        xor     ebp, ebp                ; seed of the pattern
first:  mov     si, modes
next:   lodsw                           ; mode number
        test    ax, ax
        jz      first
        mov     bx, ax
        mov     ax, 0x4f02
        push    si
        int     0x10
        pop     si
        lodsw                           ; 64 KiB banks the mode needs
        mov     cx, ax
        xor     dx, dx                  ; current bank

bank:   push    cx
        push    dx
        mov     ax, 0x4f05              ; move window A
        xor     bx, bx
        int     0x10
        pop     dx
        mov     ax, 0xa000
        mov     es, ax
        xor     di, di
fill:   movzx   eax, dx
        shl     eax, 16
        mov     ax, di                  ; eax = offset in video memory
        imul    eax, eax, 0x00010307
        add     eax, ebp
        stosd
        test    di, di
        jnz     fill
        inc     dx
        pop     cx
        loop    bank

        xor     ah, ah                  ; wait for a key: ah = scan code
        int     0x16
        movzx   ebp, ah
        imul    ebp, ebp, 0x00091d35
        jmp     next

modes:  dw      0x142, 19               ; 640x480, 32 bits
        dw      0x117, 24               ; 1024x768, 16 bits
        dw      0x103, 8                ; 800x600, 8 bits
        dw      0

        times   510 - ($ - $$) db 0
        dw      0xaa55
